package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Errors of tables.
var (
	// ErrNoKey is told of a key that has no value.
	ErrNoKey = errors.New("bus: the key has no value")
	// ErrChanged is told of a key whose value is not what it was taken for.
	ErrChanged = errors.New("bus: the value has changed")
)

// TableOptions is what a table keeps.
type TableOptions struct {
	// Name is the table's: letters, digits, "-" and "_".
	Name string
	// Age is how long a value lasts that is not set again; 0: for ever.
	Age time.Duration
	// Bytes is how much all of it may take; 0: no limit of its own.
	Bytes int64
	// Copies is on how many servers of a cluster it is kept: 1, 3 or 5. 0 is 1.
	Copies int
	// Memory keeps it in memory only.
	Memory bool
}

// Table keeps a value for each key. Keys are made of letters, digits and "-_/=.".
type Table struct{ values jetstream.KeyValue }

// Value is that of a key.
type Value struct {
	Key  string
	Data []byte
	// Version grows with each change of the table.
	Version uint64
	// Gone says that the key has no value any more; only watchers are told of it.
	Gone bool
}

// Table opens a table, and makes it if there is none.
func (b *Bus) Table(ctx context.Context, o TableOptions) (*Table, error) {
	storage := jetstream.FileStorage
	if o.Memory {
		storage = jetstream.MemoryStorage
	}
	t := new(Table)
	err := repeat(ctx, func(ctx context.Context) (err error) {
		t.values, err = b.stream.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: o.Name, TTL: o.Age, MaxBytes: or(o.Bytes), Replicas: max(o.Copies, 1), Storage: storage,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Get is the value of a key, or [ErrNoKey].
func (t *Table) Get(ctx context.Context, key string) (Value, error) {
	var e jetstream.KeyValueEntry
	err := repeat(ctx, func(ctx context.Context) (err error) {
		e, err = t.values.Get(ctx, key)
		return err
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Value{}, fmt.Errorf("%w: %q", ErrNoKey, key)
	}
	if err != nil {
		return Value{}, err
	}
	return Value{Key: key, Data: e.Value(), Version: e.Revision()}, nil
}

// Set gives a key a value, and returns its version.
func (t *Table) Set(ctx context.Context, key string, data []byte) (version uint64, err error) {
	err = repeat(ctx, func(ctx context.Context) (err error) {
		version, err = t.values.Put(ctx, key, data)
		return err
	})
	return version, err
}

// Swap gives a key a value if it still has the version that is told: 0 for one that has none. Otherwise it returns
// [ErrChanged].
func (t *Table) Swap(ctx context.Context, key string, data []byte, version uint64) (uint64, error) {
	var err error
	if version == 0 {
		version, err = t.values.Create(ctx, key, data)
	} else {
		version, err = t.values.Update(ctx, key, data, version)
	}
	var refused *jetstream.APIError
	if errors.Is(err, jetstream.ErrKeyExists) ||
		errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, fmt.Errorf("%w: %q", ErrChanged, key)
	}
	return version, told(err)
}

// Delete takes the value of a key away.
func (t *Table) Delete(ctx context.Context, key string) error { return told(t.values.Delete(ctx, key)) }

// Watch has f called with the value of every key that matches, as it is now and whenever it changes, and calls known
// once, when f has been told of all that there is now. cancel ends it.
func (t *Table) Watch(ctx context.Context, keys string, f func(v Value), known func()) (cancel func(), err error) {
	w, err := t.values.Watch(ctx, keys)
	if err != nil {
		return nil, told(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.Updates() {
			switch {
			case e == nil:
				if known != nil {
					known()
				}
			default:
				f(Value{e.Key(), e.Value(), e.Revision(), e.Operation() != jetstream.KeyValuePut})
			}
		}
	}()
	return func() {
		_ = w.Stop()
		<-done
	}, nil
}
