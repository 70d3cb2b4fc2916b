package main

import (
	"github.com/myriad-server/myriad/conn"
	"github.com/myriad-server/myriad/web"
	"github.com/myriad-server/myriad/web/socket"
)

// People stay connected while their server goes on in another process: who somebody is goes along, and in which room,
// and which message was the last that was sent. In the other process the room is read anew, and what is behind that
// message follows. What they have said and what is not known to be in the journal is said again there: by its ID it is
// kept once.

var (
	_ socket.Packer = (*chat)(nil)
	_ web.Resumer   = (*chat)(nil)
)

// stateVersion is that of what Pack writes.
const stateVersion = 1

// longestName is what a room or a person may be called, in bytes.
const longestName = 32 * 4

// Resume goes on with a connection that comes from another process.
func (c *chat) Resume(again *web.Resumption) (web.Upgraded, error) { return c.service.Resume(again) }

// Pack tells of somebody.
func (c *chat) Pack(k *socket.Conn, state []byte) (packed []byte, ok bool) {
	p := k.Attached().(*person)
	packed = append(state, stateVersion)
	packed = conn.AppendText(packed, p.room.name)
	packed = conn.AppendText(packed, p.name)
	packed = conn.AppendNumber(packed, p.after)
	packed = conn.AppendNumber(packed, uint64(len(p.saying)))
	for _, s := range p.saying {
		packed = conn.AppendText(packed, s.Text)
		packed = conn.AppendText(packed, s.ID)
	}
	return packed, true
}

// Unpack lets somebody in who comes from another process.
func (c *chat) Unpack(k *socket.Conn, state []byte) error {
	r := conn.ReadState(state, stateVersion)
	room, p := string(r.Text(longestName)), &person{name: string(r.Text(longestName))}
	p.after = r.Number(1<<64 - 1)
	said := make([]said, r.Number(waiting*writers))
	for i := range said {
		said[i].From, said[i].Text, said[i].ID = p.name, string(r.Text(longestText)), string(r.Text(longestID))
	}
	if !names.MatchString(room) || !names.MatchString(p.name) {
		r.Refuse()
	}
	if err := r.End(); err != nil {
		return err
	}
	p.room = c.room(room)
	k.Attach(p)
	c.Opened(k)
	for _, s := range said {
		c.say(k, s)
	}
	return nil
}
