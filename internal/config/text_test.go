package config

import (
	"encoding"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// roundTrip checks that what a value writes reads back as the value.
func roundTrip[T comparable](t *rapid.T, value T) {
	text, err := any(value).(encoding.TextMarshaler).MarshalText()
	if err != nil {
		t.Fatalf("%v: %v", value, err)
	}
	var again T
	if err := any(&again).(encoding.TextUnmarshaler).UnmarshalText(text); err != nil || again != value {
		t.Fatalf("%v writes %q, which reads as %v, %v", value, text, again, err)
	}
}

func TestTextsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.OneOf(rapid.Int64Range(0, math.MaxInt64-1), rapid.Int64Range(0, 100_000),
			rapid.Map(rapid.Int64Range(0, 1<<20), func(n int64) int64 { return n << 20 }),
			rapid.Map(rapid.Int64Range(0, 1<<30), func(n int64) int64 { return n * 1_000_000_000 })).Draw(t, "value")
		roundTrip(t, Duration(some))
		roundTrip(t, DurationOrOff(some))
		roundTrip(t, DurationOrUnlimited(some))
		roundTrip(t, Size(some))
		roundTrip(t, SizeOrAuto(some))
		roundTrip(t, SizeOrUnlimited(some))
		roundTrip(t, CountOrAuto(some))
		roundTrip(t, CountOrOff(some))
		roundTrip(t, FileMode(some&0o777))
		roundTrip(t, SizeOrUnlimited(Unlimited))
		roundTrip(t, DurationOrUnlimited(Unlimited))
	})
}

func TestAnyTextIsReadOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9.]{0,20} ?[a-zA-Zµ]{0,4}`),
			rapid.StringMatching(`(unix:|udp://|tcp://)?[\[\]0-9a-f.:@/*]{0,12}(:[0-9]{0,6})?`)).Draw(t, "text")
		for _, target := range []encoding.TextUnmarshaler{
			new(Duration), new(DurationOrOff), new(DurationOrUnlimited),
			new(Size), new(SizeOrAuto), new(SizeOrUnlimited),
			new(CountOrAuto), new(CountOrOff), new(FileMode), new(Address),
		} {
			if err := target.UnmarshalText([]byte(text)); err != nil {
				if m, ok := err.(*mistake); !ok || m.message == "" || m.mend == "" {
					t.Fatalf("%T refuses %q without a mend: %v", target, text, err)
				}
				continue
			}
			written, err := target.(encoding.TextMarshaler).MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			again := reflect.New(reflect.TypeOf(target).Elem()).Interface().(encoding.TextUnmarshaler)
			if err := again.UnmarshalText(written); err != nil || !reflect.DeepEqual(again, target) {
				t.Fatalf("%T reads %q as %v, writes %q and reads %v, %v", target, text, target, written, again, err)
			}
		}
	})
}

func TestTexts(t *testing.T) {
	for _, test := range []struct {
		value encoding.TextMarshaler
		want  string
	}{
		{Duration(0), "0s"},
		{Duration(75e9), "1m15s"},
		{Duration(300e9), "5m"},
		{Duration(3600e9), "1h"},
		{Duration(36000e9), "10h"},
		{Duration(3660e9), "1h1m"},
		{Duration(3601e9), "1h0m1s"},
		{Duration(10e6), "10ms"},
		{DurationOrOff(0), "off"},
		{DurationOrUnlimited(Unlimited), "unlimited"},
		{Size(0), "0"},
		{Size(1000), "1000"},
		{Size(1024), "1KiB"},
		{Size(1536), "1536"},
		{Size(1 << 62), "4096PiB"},
		{SizeOrAuto(0), "auto"},
		{CountOrOff(0), "off"},
		{CountOrAuto(3), "3"},
		{FileMode(0o60), "0060"},
	} {
		if got, err := test.value.MarshalText(); string(got) != test.want || err != nil {
			t.Errorf("%T(%#v) writes %q, %v, want %q", test.value, test.value, got, err, test.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		text, network, where string
	}{
		{":8080", "tcp", "[::]:8080"},
		{"*:80", "tcp", "[::]:80"},
		{"0.0.0.0:80", "tcp", "0.0.0.0:80"},
		{"localhost:0", "tcp", "127.0.0.1:0"},
		{"tcp://[::1]:443", "tcp", "[::1]:443"},
		{"[fe80::1%eth0]:443", "tcp", "[fe80::1%eth0]:443"},
		{"udp://127.0.0.1:9000", "udp", "127.0.0.1:9000"},
		{"unix:/run/x.sock", "unix", "/run/x.sock"},
		{"unix:///run/x.sock", "unix", "/run/x.sock"},
		{"unix:x.sock", "unix", "x.sock"},
		{"unix:@abstract", "unix", "@abstract"},
	} {
		a := ParseAddress(test.text)
		where := a.Path
		if a.Network != Unix {
			where = a.AddrPort().String()
		}
		if string(a.Network) != test.network || where != test.where || a.String() != test.text {
			t.Errorf("%s is %s %s, %q, want %s %s", test.text, a.Network, where, a, test.network, test.where)
		}
	}
	if !ParseAddress(":80").Equal(ParseAddress("*:80")) || ParseAddress(":80").Equal(ParseAddress(":81")) {
		t.Error("addresses are told apart by their text")
	}
}
