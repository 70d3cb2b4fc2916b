package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The files that settings are written to, below Installation.Root.
const (
	sysctlFile  = "etc/sysctl.d/90-myriad.conf"
	stateFile   = "var/lib/myriad/doctor.json"
	dropInName  = "90-myriad.conf"
	systemdMark = "run/systemd/system" // there if systemd runs, see sd_booted(3)
)

// ErrNotRoot is the answer to who may not change the host.
var ErrNotRoot = errors.New("the settings of the host are root's to change: run this with sudo")

// Installation is the host that settings are applied to.
type Installation struct {
	// Root is where /etc and /var are; tests put another folder there.
	Root string
	// Unit is the service that gets the limits: myriad.service.
	Unit string
	// User is the effective user; nil asks the kernel.
	User func() int

	// step is called before each change, with its name. An error ends everything there, as a crash would.
	step func(name string) error
}

// A Change is all that is to be done to a host, and none of it is done yet.
type Change struct {
	// Settings are what is raised, with the values as they are now.
	Settings []Setting
	// Left are what is not touched, each with why: what would be lowered, or is not there.
	Left []Note
	// Print is the drop-in of a host without systemd, for whoever starts the service to read; "" if it is written.
	Print string

	at     *Installation
	host   *Host
	wanted map[string]string
	files  []fileChange
	state  *state
}

// A fileChange is a file before and after.
type fileChange struct {
	name          string // below the root
	before, after string
}

// Prepare compares settings with what the host has. Of several for one key the highest counts, and a value is never
// lowered. A host that has all of it already gives a Change without anything to do.
func (in *Installation) Prepare(h *Host, settings []Setting) (*Change, error) {
	s, err := in.readState()
	if err != nil {
		return nil, err
	}
	c := &Change{at: in, host: h, wanted: map[string]string{}, state: s}
	h.Refresh()
	for _, setting := range settings {
		if err := c.want(setting); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.wanted)) {
		have := s.wrote(key)
		if !isLimit(key) {
			if have, err = h.Sysctl(key); err != nil {
				return nil, err
			}
		}
		if have != c.wanted[key] || s.wrote(key) != c.wanted[key] {
			c.Settings = append(c.Settings, Setting{key, have, c.wanted[key]})
		}
	}
	c.compose()
	return c, nil
}

// want merges a setting into those that are wanted, as high as it, as what was wanted before and as what there is.
func (c *Change) want(s Setting) error {
	if !validKey(s.Key) || s.Want == "" || strings.ContainsAny(s.Want, "\n\r=#;%") {
		return fmt.Errorf("%q is no setting that can be written: %q", s.Key, s.Want)
	}
	var have string
	if isLimit(s.Key) {
		have = higher(s.Key, c.at.limitOfUnit(s.Key), c.state.wrote(s.Key))
	} else {
		var err error
		if have, err = c.host.Sysctl(s.Key); err != nil {
			c.Left = append(c.Left, Note{s.Key, err.Error()})
			return nil
		}
	}
	value := higher(s.Key, have, s.Want)
	if value == have && value != s.Want {
		c.Left = append(c.Left, Note{s.Key, fmt.Sprintf("it is %s, and %s would lower it", have, s.Want)})
		return nil
	}
	c.wanted[s.Key] = higher(s.Key, c.wanted[s.Key], value)
	return nil
}

// unitFolders are where systemd.unit(5) looks for a service of the host.
var unitFolders = []string{"etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// limitOfUnit is the highest that the unit's own files say for a limit, "" if none does.
func (in *Installation) limitOfUnit(key string) string {
	highest := ""
	for _, folder := range unitFolders {
		unit := filepath.Join(in.Root, folder, in.unit())
		names, _ := filepath.Glob(unit + ".d/*.conf") // the pattern is well formed
		for _, name := range append(names, unit) {
			if filepath.Base(name) == dropInName {
				continue // what is in it the state knows
			}
			text, err := os.ReadFile(name)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				if strings.TrimSpace(name) != key {
					continue
				}
				_, hard, two := strings.Cut(value, ":") // soft:hard
				if !two {
					hard = value
				}
				highest = higher(key, highest, strings.TrimSpace(hard))
			}
		}
	}
	return highest
}

func (in *Installation) unit() string { return cmp.Or(in.Unit, "myriad.service") }

// validKey keeps out what would be another line of a file, or another file of /proc.
func validKey(key string) bool {
	for _, r := range key {
		if !strings.ContainsRune("._-/", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	if isLimit(key) {
		return !strings.ContainsAny(key, "./")
	}
	return strings.Contains(key, ".") && fs.ValidPath(sysctlPath(key))
}

func isLimit(key string) bool { return strings.HasPrefix(key, "Limit") }

// ascending are sysctls whose numbers stand for something, from little to much.
var ascending = map[string][]string{"net.ipv4.tcp_tw_reuse": {"0", "2", "1"}}

// higher gives the higher of two values, number by number; of a range of ports the wider. What is no number is taken
// from the second.
func higher(key, a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	if order, known := ascending[key]; known {
		if slices.Index(order, a) > slices.Index(order, b) {
			return a
		}
		return b
	}
	first, second := strings.Fields(a), strings.Fields(b)
	if len(first) != len(second) {
		return b
	}
	for i := range first {
		x, err := limitNumber(first[i])
		if err != nil {
			return b
		}
		y, err := limitNumber(second[i])
		if err != nil {
			return b
		}
		// The lower end of a range is wider where it is lower.
		if key == portRange && i == 0 && x < y || (key != portRange || i > 0) && x > y {
			second[i] = first[i]
		}
	}
	return strings.Join(second, " ")
}

func limitNumber(text string) (int64, error) {
	if text == "infinity" {
		return Unlimited, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

// compose works out the files: what this program has ever set and not undone stays in them.
func (c *Change) compose() {
	values := map[string]string{}
	for _, v := range c.state.Values {
		values[v.Key] = v.last()
	}
	maps.Copy(values, c.wanted)
	c.files = nil
	var sysctls, limits strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if isLimit(key) {
			fmt.Fprintf(&limits, "%s=%s\n", key, values[key])
		} else {
			fmt.Fprintf(&sysctls, "%s = %s\n", key, values[key])
		}
	}
	if sysctls.Len() > 0 {
		c.file(sysctlFile, "# Written by myriad doctor --apply; --undo takes it back.\n"+sysctls.String())
	}
	if limits.Len() == 0 {
		return
	}
	text := "# Written by myriad doctor --apply; --undo takes it back.\n[Service]\n" + limits.String()
	if _, err := os.Stat(filepath.Join(c.at.Root, systemdMark)); err != nil {
		c.Print = text
		c.Settings = slices.DeleteFunc(c.Settings, func(s Setting) bool { return isLimit(s.Key) })
		return
	}
	c.file("etc/systemd/system/"+c.at.unit()+".d/"+dropInName, text)
}

// file notes a file that is to be other than it is.
func (c *Change) file(name, after string) {
	before, err := os.ReadFile(filepath.Join(c.at.Root, name))
	if err == nil && string(before) == after {
		return
	}
	c.files = append(c.files, fileChange{name, string(before), after})
}

// Nothing tells whether there is nothing to do.
func (c *Change) Nothing() bool { return len(c.Settings) == 0 && len(c.files) == 0 }

// Limits tells whether there are limits of the service among it, which need a new start of it.
func (c *Change) Limits() bool {
	return slices.ContainsFunc(c.Settings, func(s Setting) bool { return isLimit(s.Key) })
}

// Diff writes the change for people: the files as diff -u would, and the values of the running host.
func (c *Change) Diff() string {
	var b strings.Builder
	for _, f := range c.files {
		fmt.Fprintf(&b, "--- /%s\n+++ /%s\n", f.name, f.name)
		before, after := strings.Split(f.before, "\n"), strings.Split(f.after, "\n")
		for _, line := range before {
			if line != "" && !slices.Contains(after, line) {
				b.WriteString("-" + line + "\n")
			}
		}
		for _, line := range after {
			switch {
			case line == "":
			case slices.Contains(before, line):
				b.WriteString(" " + line + "\n")
			default:
				b.WriteString("+" + line + "\n")
			}
		}
		b.WriteByte('\n')
	}
	for _, s := range c.Settings {
		if !isLimit(s.Key) {
			fmt.Fprintf(&b, "now  %s: %s -> %s\n", s.Key, s.Have, s.Want)
		}
	}
	for _, n := range c.Left {
		fmt.Fprintf(&b, "left %s: %s\n", n.Check, n.Why)
	}
	return b.String()
}

// Apply does it: first the old values are kept in a file, then the values are set, then the files are written. Each
// file is replaced as a whole, so that a crash at any place leaves what Undo needs, and what applying again completes.
// A value that the kernel refuses is in no file, and in the error.
func (c *Change) Apply() error {
	if err := c.at.mayChange(); err != nil {
		return err
	}
	if c.Nothing() {
		return nil
	}
	// Two at a time would each take the other's values for the old ones. What is between this look and the rename is too
	// short for people, and both then wrote the same.
	if now, err := c.at.readState(); err != nil || !reflect.DeepEqual(now, c.state) {
		return errors.Join(err, errors.New("somebody else has applied or undone settings meanwhile: look again"))
	}
	if err := c.at.replace(stateFile, c.state.with(c)); err != nil {
		return err
	}
	var refused []error
	for _, s := range slices.Clone(c.Settings) {
		if isLimit(s.Key) || s.Have == s.Want {
			continue // a limit holds from the next start of the service on
		}
		if err := c.at.before("set " + s.Key); err != nil {
			return err
		}
		if err := c.host.setSysctl(s.Key, s.Want); err != nil {
			refused = append(refused, err)
			delete(c.wanted, s.Key)
			c.Settings = slices.DeleteFunc(c.Settings, func(other Setting) bool { return other.Key == s.Key })
		}
	}
	c.host.Refresh()
	if refused != nil {
		c.compose()
		if err := c.at.replace(stateFile, c.state.with(c)); err != nil {
			return err
		}
	}
	for _, f := range c.files {
		if err := c.at.replace(f.name, f.after); err != nil {
			return err
		}
	}
	return errors.Join(refused...)
}

func (in *Installation) mayChange() error {
	user := os.Geteuid
	if in.User != nil {
		user = in.User
	}
	if user() != 0 {
		return ErrNotRoot
	}
	return nil
}

// setSysctl writes a value of the running host.
func (h *Host) setSysctl(key, value string) error {
	file, err := os.OpenFile(filepath.Join(h.Proc, sysctlPath(key)), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(value + "\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s = %s: %w", key, value, err)
	}
	return nil
}

func (in *Installation) before(step string) error {
	if in.step == nil {
		return nil
	}
	return in.step(step)
}

// replace writes a file beside the one that it is to become, and renames it once it is on the disk.
func (in *Installation) replace(name, text string) error {
	if err := in.before("write " + name); err != nil {
		return err
	}
	path := filepath.Join(in.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".myriad-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // it is gone when all went well
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := in.before("rename " + name); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder puts a new name on the disk.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
