package sys

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	qdiscMessage = 20 // struct tcmsg
	qdiscParent  = 12
	qdiscKind    = 1 // TCA_KIND
	qdiscRoot    = 0xffffffff
)

// RootQdiscs gives the name of the queueing discipline (tc-qdisc(8)) at the root of each link of the thread's network
// namespace, by the link's index. A link with a queue for each processor has "mq" there, and what is below it is in
// leaves.
func RootQdiscs() (roots map[int]string, leaves map[int][]string, err error) {
	link, err := OpenNetlink(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = link.Close() }()
	roots, leaves = map[int]string{}, map[int][]string{}
	q := NetlinkRequest{Kind: unix.RTM_GETQDISC, Flags: NetlinkDump, Body: make([]byte, qdiscMessage)}
	err = link.Exchange(q, func(answer []byte) {
		if len(answer) < qdiscMessage {
			return
		}
		index := int(int32(binary.NativeEndian.Uint32(answer[4:])))
		parent := binary.NativeEndian.Uint32(answer[qdiscParent:])
		Attributes(answer[qdiscMessage:], func(kind uint16, value []byte) {
			if kind != qdiscKind || len(value) == 0 {
				return
			}
			name := string(value[:len(value)-1]) // without the zero at its end
			if parent == qdiscRoot {
				roots[index] = name
			} else {
				leaves[index] = append(leaves[index], name)
			}
		})
	})
	return roots, leaves, err
}
