package sys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// Rings are the descriptor rings of a network card (ethtool -g): how many packets fit, and how many could.
type Rings struct{ Receive, ReceiveMost, Send, SendMost uint32 }

// Channels are the queues of a network card (ethtool -l). A combined one receives and sends.
type Channels struct{ Receive, ReceiveMost, Send, SendMost, Combined, CombinedMost uint32 }

// Coalescing is how long a network card collects packets before it interrupts (ethtool -c). What a driver does not
// have is 0 or false.
type Coalescing struct {
	ReceiveMicroseconds, ReceiveFrames uint32
	SendMicroseconds, SendFrames       uint32
	AdaptiveReceive, AdaptiveSend      bool
}

// Feature is an offload as ethtool -k tells it, by the kernel's name: rx-gro, tx-generic-segmentation ...
type Feature struct {
	Active bool
	Fixed  bool // it cannot be changed
}

// Commands and attributes of the kernel's ethtool_netlink.h.
const (
	controlFamily     = 0x10 // GENL_ID_CTRL
	controlGetFamily  = 3
	controlFamilyID   = 1
	controlFamilyName = 2

	getFeatures   = 11
	setFeatures   = 12
	getRings      = 15
	getChannels   = 17
	getCoalescing = 19

	ethtoolHeader     = 1
	ethtoolHeaderName = 2
	featuresHardware  = 2
	featuresWanted    = 3
	featuresActive    = 4
	featuresFixed     = 5
	bitsetNoMask      = 1
	bitsetBits        = 3
	bitsetBit         = 1
	bitName           = 2
	bitValue          = 3
)

// Ethtool asks network cards about themselves, in the network namespace of the thread that opened it
// (the kernel's Documentation/networking/ethtool-netlink.rst). It is for one goroutine.
type Ethtool struct {
	link   *Netlink
	family uint16
}

// OpenEthtool finds the kernel's family; ENOENT says that it is older than 5.6 or built without.
func OpenEthtool() (*Ethtool, error) {
	link, err := OpenNetlink(NetlinkGeneric)
	if err != nil {
		return nil, err
	}
	e := &Ethtool{link: link}
	body := AppendAttribute([]byte{controlGetFamily, 1, 0, 0}, controlFamilyName, []byte("ethtool\x00"))
	err = link.Exchange(NetlinkRequest{Kind: controlFamily, Body: body}, func(answer []byte) {
		e.attributes(answer, func(kind uint16, value []byte) {
			if kind == controlFamilyID && len(value) >= 2 {
				e.family = binary.NativeEndian.Uint16(value)
			}
		})
	})
	if err == nil && e.family == 0 {
		err = syscall.ENOENT
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sys: the kernel's ethtool family: %w", err), link.Close())
	}
	return e, nil
}

// Close ends the conversation.
func (e *Ethtool) Close() error { return e.link.Close() }

// attributes goes through an answer behind the four bytes of its generic header.
func (e *Ethtool) attributes(answer []byte, visit func(kind uint16, value []byte)) {
	if len(answer) >= 4 {
		Attributes(answer[4:], visit)
	}
}

// request begins a message about a link.
func ethtoolRequest(command byte, name string) []byte {
	header := AppendAttribute(nil, ethtoolHeaderName, append([]byte(name), 0))
	return AppendAttribute([]byte{command, 1, 0, 0}, ethtoolHeader|Nested, header)
}

// numbers asks for attributes that are numbers of 32 or 8 bits.
func (e *Ethtool) numbers(command byte, name string) (map[uint16]uint32, error) {
	found := map[uint16]uint32{}
	q := NetlinkRequest{Kind: e.family, Body: ethtoolRequest(command, name)}
	err := e.link.Exchange(q, func(answer []byte) {
		e.attributes(answer, func(kind uint16, value []byte) {
			switch len(value) {
			case 1:
				found[kind] = uint32(value[0])
			case 4:
				found[kind] = binary.NativeEndian.Uint32(value)
			}
		})
	})
	return found, err
}

// Rings reads the sizes of the rings of a link; EOPNOTSUPP if it has none.
func (e *Ethtool) Rings(name string) (Rings, error) {
	n, err := e.numbers(getRings, name)
	return Rings{ReceiveMost: n[2], SendMost: n[5], Receive: n[6], Send: n[9]}, err
}

// Channels counts the queues of a link; EOPNOTSUPP if it does not tell.
func (e *Ethtool) Channels(name string) (Channels, error) {
	n, err := e.numbers(getChannels, name)
	return Channels{
		ReceiveMost: n[2], SendMost: n[3], CombinedMost: n[5],
		Receive: n[6], Send: n[7], Combined: n[9],
	}, err
}

// Coalescing reads how a link collects interrupts; EOPNOTSUPP if it does not.
func (e *Ethtool) Coalescing(name string) (Coalescing, error) {
	n, err := e.numbers(getCoalescing, name)
	return Coalescing{
		ReceiveMicroseconds: n[2], ReceiveFrames: n[3], SendMicroseconds: n[6], SendFrames: n[7],
		AdaptiveReceive: n[11] != 0, AdaptiveSend: n[12] != 0,
	}, err
}

// Features reads the offloads of a link, by name. One that the link neither has nor could have is not in it.
func (e *Ethtool) Features(name string) (map[string]Feature, error) {
	found := map[string]Feature{}
	q := NetlinkRequest{Kind: e.family, Body: ethtoolRequest(getFeatures, name)}
	err := e.link.Exchange(q, func(answer []byte) {
		var active, changeable, fixed []string
		e.attributes(answer, func(kind uint16, value []byte) {
			switch kind {
			case featuresHardware:
				changeable = bitset(value)
			case featuresActive:
				active = bitset(value)
			case featuresFixed:
				fixed = bitset(value)
			}
		})
		can := map[string]bool{}
		for _, feature := range changeable {
			can[feature] = true
			found[feature] = Feature{}
		}
		for _, feature := range active {
			found[feature] = Feature{Active: true, Fixed: !can[feature]}
		}
		for _, feature := range fixed {
			if f, known := found[feature]; known {
				found[feature] = Feature{Active: f.Active, Fixed: true}
			}
		}
	})
	return found, err
}

// bitset gives the names of the bits that are set, of a bitset in its long form: with a mask those that have the value
// attribute, without one all that are named.
func bitset(in []byte) (names []string) {
	noMask := false
	Attributes(in, func(kind uint16, value []byte) {
		switch kind {
		case bitsetNoMask:
			noMask = true
		case bitsetBits:
			Attributes(value, func(_ uint16, bit []byte) {
				name, set := "", noMask
				Attributes(bit, func(kind uint16, value []byte) {
					switch kind {
					case bitName:
						name = string(value[:max(len(value)-1, 0)]) // without the zero at its end
					case bitValue:
						set = true
					}
				})
				if set {
					names = append(names, name)
				}
			})
		}
	})
	return names
}

// SetFeature turns an offload of a link on or off, as ethtool -K does. EPERM without CAP_NET_ADMIN.
func (e *Ethtool) SetFeature(name, feature string, on bool) error {
	bit := AppendAttribute(nil, bitName, append([]byte(feature), 0))
	if on {
		bit = AppendAttribute(bit, bitValue, nil)
	}
	bits := AppendAttribute(nil, bitsetBit|Nested, bit)
	wanted := AppendAttribute(nil, bitsetBits|Nested, bits)
	body := AppendAttribute(ethtoolRequest(setFeatures, name), featuresWanted|Nested, wanted)
	return e.link.Exchange(NetlinkRequest{Kind: e.family, Flags: NetlinkAcknowledge, Body: body}, func([]byte) {})
}
