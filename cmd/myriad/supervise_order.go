package main

import (
	"context"
	"fmt"

	"github.com/myriad-server/myriad/internal/app"
	"github.com/myriad-server/myriad/internal/front"
	"github.com/myriad-server/myriad/internal/proc"
	"github.com/myriad-server/myriad/internal/supervise"
)

// obey takes a message of the supervisor.
func (w *worker) obey(m proc.Message) {
	if m.Kind != supervise.KindOrder {
		m.Close()
		return
	}
	order, whole, err := w.member.Orders.Add(m)
	switch {
	case err != nil:
		w.log.Error("an order cannot be read", "error", err)
	case whole:
		go w.carryOut(order) // a worker that is at work must still answer whether it hangs
	}
}

// carryOut does what was ordered, and answers.
func (w *worker) carryOut(order supervise.Order) {
	answer := supervise.Answer{ID: order.ID}
	var err error
	switch order.Do {
	case supervise.OrderPreview, supervise.OrderReload:
		answer.Change, err = w.reload(&order)
	case supervise.OrderAdopt:
		w.server.Give(order.Sockets)
		err = w.server.Adopt(order.Awaits)
	case supervise.OrderHandOver, supervise.OrderTakeOver, supervise.OrderGiveBack:
		err = w.pass(&order)
	case supervise.OrderLead:
		err = w.server.Lead(order.Awaits)
	case supervise.OrderFront:
		err = w.receive(&order)
	default:
		proc.Message{Descriptors: order.Descriptors()}.Close()
		err = fmt.Errorf("this version does not know the order %q", order.Do)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	if err := w.member.Answer(context.Background(), answer); err != nil {
		w.log.Warn("the supervisor does not hear what came of an order", "order", order.Do, "error", err)
	}
}

// reload previews or takes over another configuration.
func (w *worker) reload(order *supervise.Order) (*app.Change, error) {
	plan, err := w.plan(order)
	if err != nil {
		proc.Message{Descriptors: order.Descriptors()}.Close()
		return nil, err
	}
	if order.Do == supervise.OrderPreview {
		return w.server.Preview(plan)
	}
	w.server.Give(order.Sockets)
	defer w.server.Ungive()
	return w.server.Reload(plan)
}

// pass gives the connections to another worker, and drains then, or gives back the sockets that are that one's, or
// begins to take what another has.
func (w *worker) pass(order *supervise.Order) error {
	channel, err := order.Peer()
	if err != nil {
		return err
	}
	if order.Do == supervise.OrderTakeOver {
		go func() {
			defer channel.Close()
			if _, err := w.server.TakeOver(context.Background(), channel, order.Awaits); err != nil {
				w.log.Warn("another worker has not handed over all that it had", "cause", err)
			}
		}()
		return nil
	}
	defer channel.Close()
	if order.Do == supervise.OrderGiveBack {
		return w.server.GiveBack(context.Background(), channel, order.Seat)
	}
	if _, err := w.server.HandOver(context.Background(), channel); err != nil {
		return err
	}
	w.drain()
	return nil
}

// receive begins to take connections that the supervisor accepts.
func (w *worker) receive(order *supervise.Order) error {
	channel, err := order.Peer()
	if err != nil {
		return err
	}
	go func() {
		if err := front.Receive(channel, w.server.Accepted); err != nil {
			w.log.Error("no connections come from the supervisor any more", "cause", err)
		}
	}()
	return nil
}

// drain has the worker end when nobody is left.
func (w *worker) drain() { w.once.Do(func() { close(w.stop) }) }
