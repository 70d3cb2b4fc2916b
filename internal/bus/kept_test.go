package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/myriad-server/myriad/internal/bus"
)

// TestJournal appends, reads from the begin and from a place, and goes on with what comes.
func TestJournal(t *testing.T) {
	s := serve(t, bus.ServerOptions{Dir: t.TempDir()})
	b := connect(t, bus.Options{Server: s})
	ctx := within(t)
	j, err := b.Journal(ctx, bus.JournalOptions{Name: "rooms", Subjects: []string{"room.>"}, CountEach: 100})
	if err != nil {
		t.Fatal(err)
	}
	if last, err := j.Last(ctx); last != 0 || err != nil {
		t.Errorf("the last of an empty journal is %d, %v", last, err)
	}
	for i := 1; i <= 10; i++ {
		subject := fmt.Sprint("room.", i%2)
		for range 2 { // the second is the same entry
			place, err := j.Append(ctx, subject, fmt.Append(nil, i), fmt.Sprint("id-", i))
			if err != nil || place != uint64(i) {
				t.Fatalf("entry %d is at %d, %v", i, place, err)
			}
		}
	}
	for _, c := range []struct {
		subjects []string
		behind   uint64
		want     string
	}{
		{nil, 0, "1 2 3 4 5 6 7 8 9 10 11 "},
		{[]string{"room.1"}, 0, "1 3 5 7 9 11 "},
		{[]string{"room.1"}, 5, "7 9 11 "},
		{nil, 10, "11 "},
	} {
		got := make(chan string, 16)
		cancel, err := j.Read(ctx, c.subjects, c.behind, func(e bus.Entry) {
			if time.Since(e.Time) > time.Hour || string(e.Data) != fmt.Sprint(e.Place) {
				t.Errorf("entry %d has %q, of %v", e.Place, e.Data, e.Time)
			}
			got <- string(e.Data)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append(ctx, "room.1", []byte("11"), "id-11"); err != nil {
			t.Fatal(err)
		}
		read := ""
		for len(read) < len(c.want) {
			read += await(t, got, "an entry") + " "
		}
		if cancel(); read != c.want || len(got) > 0 {
			t.Errorf("of %v behind %d: %q; want %q", c.subjects, c.behind, read, c.want)
		}
	}
}

// TestJournalLasts ends the server, and reads what another one finds in its directory.
func TestJournalLasts(t *testing.T) {
	dir, options := t.TempDir(), bus.JournalOptions{Name: "j", Subjects: []string{"j"}}
	ctx := within(t)
	for i := 1; i <= 3; i++ {
		s := serve(t, bus.ServerOptions{Dir: dir})
		b := connect(t, bus.Options{Server: s})
		j, err := b.Journal(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		if place, err := j.Append(ctx, "j", []byte("x"), ""); err != nil || place != uint64(i) {
			t.Errorf("the %d. life appends at %d, %v", i, place, err)
		}
		b.Close()
		s.Close()
	}
}

// TestReadGoesOn takes the server away while a journal is read.
func TestReadGoesOn(t *testing.T) {
	dir, options := t.TempDir(), bus.JournalOptions{Name: "j", Subjects: []string{"j"}}
	ctx, place := within(t), reserve(t)
	s := serve(t, bus.ServerOptions{Listen: place.Address, Dir: dir})
	b := beside(t, s)
	j, err := b.Journal(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 8)
	cancel, err := j.Read(context.Background(), nil, 0, func(e bus.Entry) { got <- string(e.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	if _, err := j.Append(ctx, "j", []byte("before"), ""); err != nil {
		t.Fatal(err)
	}
	if first := await(t, got, "the first entry"); first != "before" {
		t.Errorf("the first entry is %q", first)
	}
	s.Close()
	serve(t, bus.ServerOptions{Listen: place.Address, Dir: dir, Token: s.Token()})
	eventually(t, "an entry is appended to the server that is back", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := j.Append(ctx, "j", []byte("after"), "once")
		return err == nil
	})
	if second := await(t, got, "the second entry"); second != "after" {
		t.Errorf("the second entry is %q", second)
	}
}

// TestNothingIsKept asks a server without a directory for a journal.
func TestNothingIsKept(t *testing.T) {
	s := serve(t, bus.ServerOptions{})
	b := connect(t, bus.Options{Server: s})
	if _, err := b.Journal(within(t), bus.JournalOptions{Name: "j", Subjects: []string{"j"}}); err == nil {
		t.Error("there is a journal without a place to keep it")
	}
}

func TestTable(t *testing.T) {
	s := serve(t, bus.ServerOptions{Dir: t.TempDir()})
	b := connect(t, bus.Options{Server: s})
	ctx := within(t)
	table, err := b.Table(ctx, bus.TableOptions{Name: "sticky", Age: time.Hour, Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Get(ctx, "a"); !errors.Is(err, bus.ErrNoKey) {
		t.Errorf("a key without a value: %v", err)
	}
	first, err := table.Swap(ctx, "a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range []uint64{0, first + 7} {
		if _, err := table.Swap(ctx, "a", []byte("x"), stale); !errors.Is(err, bus.ErrChanged) {
			t.Errorf("a swap of version %d: %v", stale, err)
		}
	}
	if _, err := table.Swap(ctx, "a", []byte("2"), first); err != nil {
		t.Error(err)
	}
	if v, err := table.Get(ctx, "a"); err != nil || string(v.Data) != "2" || v.Version <= first {
		t.Errorf("the value is %+v, %v", v, err)
	}
	changes, known := make(chan bus.Value, 8), make(chan bool, 1)
	cancel, err := table.Watch(ctx, ">", func(v bus.Value) { changes <- v }, func() { known <- true })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	await(t, known, "what is there")
	if _, err := table.Set(ctx, "b", []byte("3")); err != nil {
		t.Fatal(err)
	}
	if err := table.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a 2 false", "b 3 false", "a  true"} {
		v := await(t, changes, "a change")
		if got := fmt.Sprint(v.Key, " ", string(v.Data), " ", v.Gone); got != want {
			t.Errorf("change %d is %q; want %q", i, got, want)
		}
	}
}
