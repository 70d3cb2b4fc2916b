package config

import "fmt"

// AutoOrOffOrAddress is where the admin API listens: an Address, or one of the words "auto", which is the zero value,
// and "off".
type AutoOrOffOrAddress struct {
	Off bool
	// Address has no Network for "auto" and "off".
	Address Address
}

// Auto says that the program chooses the place.
func (a AutoOrOffOrAddress) Auto() bool { return !a.Off && a.Address.Network == "" }

// String is the text that reads back as a.
func (a AutoOrOffOrAddress) String() string {
	switch {
	case a.Off:
		return wordOff
	case a.Auto():
		return wordAuto
	}
	return a.Address.String()
}

// MarshalText is String.
func (a AutoOrOffOrAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

const adminMend = `write "unix:/run/myriad/admin.sock", "127.0.0.1:9090", auto or off`

// UnmarshalText reads what String writes. Nobody has to say who he is to use the admin API, so it listens nowhere where
// others than the users of this machine could.
func (a *AutoOrOffOrAddress) UnmarshalText(text []byte) error {
	switch string(text) {
	case wordAuto:
		*a = AutoOrOffOrAddress{}
		return nil
	case wordOff:
		*a = AutoOrOffOrAddress{Off: true}
		return nil
	}
	at, err := parseAddress(string(text))
	switch {
	case err != nil:
		message, _ := split(err)
		return &mistake{message, adminMend}
	case at.Network == UDP:
		return &mistake{"the admin API is not spoken over udp", adminMend}
	case at.Network == TCP && !at.IP.IsLoopback():
		return &mistake{
			fmt.Sprintf("the admin API asks nobody who he is, and %q can be reached from other machines", at),
			fmt.Sprintf("write %q, and come to it through ssh; or unix:PATH", fmt.Sprintf("127.0.0.1:%d", at.Port)),
		}
	case at.Network == Unix && at.Path[0] == '@':
		return &mistake{"every user of the machine may connect to an abstract name", adminMend}
	}
	*a = AutoOrOffOrAddress{Address: at}
	return nil
}
