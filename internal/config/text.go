package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// mistake is a text that cannot be read: what is wrong with it, and what to write instead.
type mistake struct{ message, mend string }

func (m *mistake) Error() string {
	if m.mend == "" {
		return m.message
	}
	return m.message + "; " + m.mend
}

// The words that stand for a value which no number says honestly.
const (
	wordAuto      = "auto"
	wordOff       = "off"
	wordUnlimited = "unlimited"
)

// worded is a type with a word of its own beside its numbers: Word is "" while the value is a number.
type worded interface{ Word() string }

// Duration is a length of time, written as Go writes it: 30s, 1m30s, 250ms.
type Duration time.Duration

// String is the shortest text that reads back as d.
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes, and every other duration that is not negative.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := parseDuration(string(text), "")
	if err == nil {
		*d = Duration(value)
	}
	return err
}

// DurationOrOff is a Duration or the word "off", which is the value 0.
type DurationOrOff time.Duration

// Word is "off" for 0.
func (d DurationOrOff) Word() string { return wordAt(d, 0, wordOff) }

// String is the shortest text that reads back as d.
func (d DurationOrOff) String() string { return wordOr(d, Duration(d).String()) }

// MarshalText is String.
func (d DurationOrOff) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes.
func (d *DurationOrOff) UnmarshalText(text []byte) error {
	if string(text) == wordOff {
		*d = 0
		return nil
	}
	value, err := parseDuration(string(text), wordOff)
	if err == nil && value == 0 {
		err = &mistake{"0 would never wait, or wait for ever: nobody could tell", "write off"}
	}
	if err == nil {
		*d = DurationOrOff(value)
	}
	return err
}

// DurationOrUnlimited is a Duration or the word "unlimited", which is the value Unlimited.
type DurationOrUnlimited time.Duration

// Word is "unlimited" for Unlimited.
func (d DurationOrUnlimited) Word() string { return wordAt(d, Unlimited, wordUnlimited) }

// String is the shortest text that reads back as d.
func (d DurationOrUnlimited) String() string { return wordOr(d, Duration(d).String()) }

// MarshalText is String.
func (d DurationOrUnlimited) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes.
func (d *DurationOrUnlimited) UnmarshalText(text []byte) error {
	if string(text) == wordUnlimited {
		*d = Unlimited
		return nil
	}
	value, err := parseDuration(string(text), wordUnlimited)
	if err == nil {
		*d = DurationOrUnlimited(value)
	}
	return err
}

// Size is a number of bytes, written as an integer or with a unit: 512, 64KiB, 1MiB.
type Size int64

// String is the shortest text that reads back as s.
func (s Size) String() string {
	value := int64(s)
	if value == 0 {
		return "0"
	}
	unit := 0
	for value%1024 == 0 && unit < len(sizeUnits)-1 {
		value /= 1024
		unit++
	}
	if unit == 0 {
		return strconv.FormatInt(value, 10)
	}
	return strconv.FormatInt(value, 10) + sizeUnits[unit]
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String writes, and every other size that is not negative.
func (s *Size) UnmarshalText(text []byte) error {
	value, err := parseSize(string(text), "")
	if err == nil {
		*s = Size(value)
	}
	return err
}

// SizeOrAuto is a Size or the word "auto", which is the value 0.
type SizeOrAuto int64

// Word is "auto" for 0.
func (s SizeOrAuto) Word() string { return wordAt(s, 0, wordAuto) }

// String is the shortest text that reads back as s.
func (s SizeOrAuto) String() string { return wordOr(s, Size(s).String()) }

// MarshalText is String.
func (s SizeOrAuto) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String writes.
func (s *SizeOrAuto) UnmarshalText(text []byte) error {
	if string(text) == wordAuto {
		*s = 0
		return nil
	}
	value, err := parseSize(string(text), wordAuto)
	if err == nil && value == 0 {
		err = &mistake{"0 bytes hold nothing", "write auto"}
	}
	if err == nil {
		*s = SizeOrAuto(value)
	}
	return err
}

// SizeOrUnlimited is a Size or the word "unlimited", which is the value Unlimited.
type SizeOrUnlimited int64

// Word is "unlimited" for Unlimited.
func (s SizeOrUnlimited) Word() string { return wordAt(s, Unlimited, wordUnlimited) }

// String is the shortest text that reads back as s.
func (s SizeOrUnlimited) String() string { return wordOr(s, Size(s).String()) }

// MarshalText is String.
func (s SizeOrUnlimited) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String writes.
func (s *SizeOrUnlimited) UnmarshalText(text []byte) error {
	if string(text) == wordUnlimited {
		*s = Unlimited
		return nil
	}
	value, err := parseSize(string(text), wordUnlimited)
	if err == nil {
		*s = SizeOrUnlimited(value)
	}
	return err
}

// CountOrAuto is a number or the word "auto", which is the value 0.
type CountOrAuto int

// Word is "auto" for 0.
func (c CountOrAuto) Word() string { return wordAt(c, 0, wordAuto) }

// String is the shortest text that reads back as c.
func (c CountOrAuto) String() string { return wordOr(c, strconv.Itoa(int(c))) }

// MarshalText is String.
func (c CountOrAuto) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MarshalYAML writes a number as a number.
func (c CountOrAuto) MarshalYAML() (any, error) { return wordOrCount(c, int(c)), nil }

// UnmarshalText reads what String writes.
func (c *CountOrAuto) UnmarshalText(text []byte) error {
	value, err := parseCount(string(text), wordAuto)
	if err == nil {
		*c = CountOrAuto(value)
	}
	return err
}

// CountOrOff is a number or the word "off", which is the value 0.
type CountOrOff int

// Word is "off" for 0.
func (c CountOrOff) Word() string { return wordAt(c, 0, wordOff) }

// String is the shortest text that reads back as c.
func (c CountOrOff) String() string { return wordOr(c, strconv.Itoa(int(c))) }

// MarshalText is String.
func (c CountOrOff) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MarshalYAML writes a number as a number.
func (c CountOrOff) MarshalYAML() (any, error) { return wordOrCount(c, int(c)), nil }

// UnmarshalText reads what String writes.
func (c *CountOrOff) UnmarshalText(text []byte) error {
	value, err := parseCount(string(text), wordOff)
	if err == nil {
		*c = CountOrOff(value)
	}
	return err
}

// FileMode is the permissions of a file, written in octal: 0660.
type FileMode uint32

// String is the mode with a leading zero.
func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText is String.
func (m FileMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what String writes, also without the zero or with 0o.
func (m *FileMode) UnmarshalText(text []byte) error {
	value, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, 32)
	if err != nil || value > 0o777 {
		return &mistake{fmt.Sprintf("%q is not a file mode", text), "write permissions in octal, such as 0660"}
	}
	*m = FileMode(value)
	return nil
}

func wordAt[T ~int | ~int64](value T, special int64, word string) string {
	if int64(value) == special {
		return word
	}
	return ""
}

func wordOr(value worded, number string) string {
	if word := value.Word(); word != "" {
		return word
	}
	return number
}

func wordOrCount(value worded, count int) any {
	if word := value.Word(); word != "" {
		return word
	}
	return count
}

// parseDuration reads a duration; word is what else could have stood there, for the mend.
func parseDuration(text, word string) (time.Duration, error) {
	value, err := time.ParseDuration(text)
	if err == nil && value >= 0 && value < math.MaxInt64 {
		return value, nil
	}
	mend := "write a duration such as 30s or 1m30s"
	if number, err := strconv.ParseUint(text, 10, 32); err == nil && number > 0 {
		return 0, &mistake{fmt.Sprintf("%q has no unit", text), fmt.Sprintf("did you mean %ds?", number)}
	}
	return 0, &mistake{fmt.Sprintf("%q is not a duration", text), orWord(mend, word)}
}

var sizeUnits = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}

// parseSize reads a size; word is what else could have stood there, for the mend.
func parseSize(text, word string) (int64, error) {
	digits := strings.TrimLeft(text, "0123456789")
	number, unit := text[:len(text)-len(digits)], strings.TrimSpace(digits)
	value, err := strconv.ParseInt(number, 10, 64)
	wrong := &mistake{fmt.Sprintf("%q is not a size", text), orWord("write bytes such as 512, 64KiB or 1MiB", word)}
	if err != nil {
		return 0, wrong
	}
	if unit == "" {
		unit = "B"
	}
	for power, name := range sizeUnits {
		if unit == name {
			if value >= math.MaxInt64>>(10*power) {
				return 0, &mistake{fmt.Sprintf("%q is more than can be counted", text), wrong.mend}
			}
			return value << (10 * power), nil
		}
	}
	for _, name := range sizeUnits {
		if strings.EqualFold(unit, name) || strings.EqualFold(unit, name[:1]) || strings.EqualFold(unit, name[:1]+"B") {
			wrong.mend = fmt.Sprintf("did you mean %s%s?", number, name)
		}
	}
	return 0, wrong
}

// parseCount reads a count or its word.
func parseCount(text, word string) (int, error) {
	if text == word {
		return 0, nil
	}
	value, err := strconv.Atoi(text)
	if errors.Is(err, strconv.ErrRange) {
		return 0, &mistake{fmt.Sprintf("%q is more than can be counted", text), orWord("write a smaller number", word)}
	}
	if err != nil {
		return 0, &mistake{fmt.Sprintf("%q is not a whole number", text), orWord("write digits only", word)}
	}
	if value == 0 {
		return 0, &mistake{"0 would be nothing, or everything: nobody could tell", "write " + word}
	}
	return value, nil
}

func orWord(mend, word string) string {
	if word == "" {
		return mend
	}
	return mend + ", or " + word
}
