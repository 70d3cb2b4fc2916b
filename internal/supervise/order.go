package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/proc"
)

// The kinds of messages between a supervisor and its workers, besides KindAsk. Those from 64 on are free for what else
// goes over the channel.
const (
	KindOrder  uint16 = 2 // a part of an Order, to a worker
	KindAnswer uint16 = 3 // a part of an Answer, from a worker
)

// What an Order can ask for.
const (
	OrderServe    = "serve"     // the first: what to serve
	OrderPreview  = "preview"   // what a reload would do
	OrderReload   = "reload"    // another configuration
	OrderAdopt    = "adopt"     // sockets of a seat that nobody has any more
	OrderHandOver = "hand over" // give all connections to another worker, and drain
	OrderTakeOver = "take over" // take the connections of another worker
	OrderGiveBack = "give back" // leave the sockets of a seat to the worker that has it now
	OrderLead     = "lead"      // whoever was awaited will not hand over
)

// Order is what a worker is to do.
type Order struct {
	ID uint64 `json:"id"`
	Do string `json:"do"`
	// Name and Text are the configuration: what its file is called, and what it says.
	Name string `json:"name,omitempty"`
	Text []byte `json:"text,omitempty"`
	// Loops is how many event loops the worker has, and Workers how many of them there are.
	Loops   int `json:"loops,omitempty"`
	Workers int `json:"workers,omitempty"`
	// Held is how many connections all workers have, some of which may come to this one: they are open already, and take
	// nothing of the machine a second time.
	Held int64 `json:"held,omitempty"`
	// Sockets are those that it gets, and Channel the number of descriptors behind them: the end of a channel, or none.
	Sockets []app.Given `json:"sockets,omitempty"`
	Channel int         `json:"channel,omitempty"`

	// Awaits are seats whose sockets another worker serves yet: OrderTakeOver comes, or OrderLead, and names them.
	Awaits []int `json:"awaits,omitempty"`
	// Seat is that of OrderGiveBack.
	Seat int `json:"seat,omitempty"`

	channel int
}

// Answer is what came of an order.
type Answer struct {
	ID uint64 `json:"id"`
	// Error is why it was not carried out; empty: it was.
	Error  string      `json:"error,omitempty"`
	Change *app.Change `json:"change,omitempty"`
}

// partBytes is how much of the text of an order or an answer goes into one message.
const partBytes = 32 << 10

// mostTextBytes bounds what a worker and its supervisor believe of each other.
const mostTextBytes = 8 << 20

// sendParts sends a document in as many messages as it takes. The first byte of each says whether more follow.
func sendParts(ctx context.Context, to *proc.Channel, kind uint16, document any, descriptors []int) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	for {
		part, some := text[:min(len(text), partBytes)], descriptors[:min(len(descriptors), proc.MostDescriptors)]
		text, descriptors = text[len(part):], descriptors[len(some):]
		more := byte(0)
		if len(text)+len(descriptors) > 0 {
			more = 1
		}
		message := proc.Message{Kind: kind, Payload: append([]byte{more}, part...), Descriptors: some}
		if err := to.Send(ctx, message); err != nil || more == 0 {
			return err
		}
	}
}

// parts puts documents together again.
type parts struct {
	text        []byte
	descriptors []int
}

// add takes a message. It is whole when it was the last part of the document, which is then in v.
func (p *parts) add(m proc.Message, v any) (descriptors []int, whole bool, err error) {
	if len(m.Payload) == 0 || len(p.text)+len(m.Payload) > mostTextBytes {
		m.Close()
		return nil, false, errors.New("a part of a message is empty, or too much")
	}
	p.text = append(p.text, m.Payload[1:]...)
	p.descriptors = append(p.descriptors, m.Descriptors...)
	if m.Payload[0] != 0 {
		return nil, false, nil
	}
	text, descriptors := p.text, p.descriptors
	*p = parts{}
	if err := json.Unmarshal(text, v); err != nil {
		proc.Message{Descriptors: descriptors}.Close()
		return nil, false, err
	}
	return descriptors, true, nil
}

// Orders puts together the orders that come in parts.
type Orders struct{ parts parts }

// Add takes a message of KindOrder. The order is whole when it was its last part; its descriptors are the caller's
// then.
func (o *Orders) Add(m proc.Message) (order Order, whole bool, err error) {
	descriptors, whole, err := o.parts.add(m, &order)
	if err != nil || !whole {
		return Order{}, false, err
	}
	if len(descriptors) != len(order.Sockets)+order.Channel {
		proc.Message{Descriptors: descriptors}.Close()
		return Order{}, false, fmt.Errorf("an order has %d descriptors, and names %d", len(descriptors), len(order.Sockets))
	}
	for i := range order.Sockets {
		order.Sockets[i].FD = descriptors[i]
	}
	order.channel = -1
	if order.Channel > 0 {
		order.channel = descriptors[len(order.Sockets)]
	}
	return order, true, nil
}

// Peer is the channel to the other worker of OrderHandOver and OrderTakeOver.
func (o *Order) Peer() (*proc.Channel, error) {
	if o.channel < 0 {
		return nil, errors.New("the order has no channel")
	}
	return proc.NewChannel(o.channel)
}

// First waits for the first order.
func (m *Member) First(ctx context.Context) (Order, error) {
	for {
		message, err := m.Control().Receive(ctx)
		switch {
		case err != nil:
			return Order{}, err
		case message.Kind != KindOrder:
			message.Close()
			continue
		}
		if order, whole, err := m.Orders.Add(message); err != nil || whole {
			return order, err
		}
	}
}

// Answer tells what came of an order.
func (m *Member) Answer(ctx context.Context, a Answer) error {
	return sendParts(ctx, m.Control(), KindAnswer, a, nil)
}

// Descriptors are all that came with the order.
func (o *Order) Descriptors() (all []int) {
	all = descriptorsOf(o.Sockets)
	if o.channel >= 0 {
		all = append(all, o.channel)
	}
	return all
}
