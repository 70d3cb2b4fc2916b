package sockets

import (
	"encoding/binary"
	"testing"

	"github.com/myriad-server/myriad/internal/sys"
)

// FuzzRead: whatever a message holds, it is read within its bounds, and all of a whole one is.
func FuzzRead(f *testing.F) {
	whole := make([]byte, messageSize+4+232)
	whole[0], whole[1] = sys.Inet4, byte(Established)
	binary.NativeEndian.PutUint16(whole[messageSize:], 4+232)
	binary.NativeEndian.PutUint16(whole[messageSize+2:], extensionInformation)
	f.Add(whole)
	f.Add(whole[:messageSize+50])
	f.Fuzz(func(t *testing.T, message []byte) {
		var s Socket
		ok := s.read(message[:len(message):len(message)])
		if ok != (len(message) >= messageSize) {
			t.Errorf("%d bytes: %v", len(message), ok)
		}
		if ok && (!s.Local.Addr().IsValid() || !s.Remote.Addr().IsValid()) {
			t.Errorf("no addresses: %+v", s)
		}
		if ok && s.Information.Known && len(message) < messageSize+148 {
			t.Error("information out of nothing")
		}
	})
}
