package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// stateVersion is the form of the file of old values.
const stateVersion = 1

// state is what the host was like before it was first changed, and what was made of it.
type state struct {
	Version int          `json:"version"`
	Values  []savedValue `json:"values"`
	Files   []savedFile  `json:"files"`
}

// A savedValue is a setting as it was, "" for a limit, and all that was ever written for it: after a crash it may be
// any of these.
type savedValue struct {
	Key    string   `json:"key"`
	Before string   `json:"before"`
	Wrote  []string `json:"wrote"`
}

func (v *savedValue) last() string {
	if len(v.Wrote) == 0 {
		return v.Before
	}
	return v.Wrote[len(v.Wrote)-1]
}

// A savedFile is a file as it was, and all that was ever written to it.
type savedFile struct {
	Name    string   `json:"name"`
	Existed bool     `json:"existed"`
	Before  string   `json:"before"`
	Wrote   []string `json:"wrote"`
}

// readState reads the old values; a host that was never changed has none.
func (in *Installation) readState() (*state, error) {
	s := &state{Version: stateVersion, Values: []savedValue{}, Files: []savedFile{}}
	path := filepath.Join(in.Root, stateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%s is of version %d, and this program writes %d", path, s.Version, stateVersion)
	}
	for _, v := range s.Values {
		if !validKey(v.Key) {
			return nil, fmt.Errorf("%s: %q is no setting", path, v.Key)
		}
	}
	for _, f := range s.Files {
		if !fs.ValidPath(f.Name) {
			return nil, fmt.Errorf("%s: %q is no file", path, f.Name)
		}
	}
	return s, nil
}

// wrote is the value that was written for a key, "" if none was.
func (s *state) wrote(key string) string {
	for _, v := range s.Values {
		if v.Key == key {
			return v.last()
		}
	}
	return ""
}

// with is the state once a change is made. What was before the first change stays.
func (s *state) with(c *Change) string {
	next := state{Version: stateVersion, Values: slices.Clone(s.Values), Files: slices.Clone(s.Files)}
	add := func(list []string, text string) []string { return append(slices.Clone(list), text) }
	for _, setting := range c.Settings {
		i := slices.IndexFunc(next.Values, func(v savedValue) bool { return v.Key == setting.Key })
		if i < 0 {
			next.Values = append(next.Values, savedValue{setting.Key, setting.Have, []string{setting.Want}})
		} else {
			next.Values[i].Wrote = add(next.Values[i].Wrote, setting.Want)
		}
	}
	for _, f := range c.files {
		i := slices.IndexFunc(next.Files, func(saved savedFile) bool { return saved.Name == f.name })
		if i < 0 {
			existed := exists(filepath.Join(c.at.Root, f.name))
			next.Files = append(next.Files, savedFile{f.name, existed, f.before, []string{f.after}})
		} else {
			next.Files[i].Wrote = add(next.Files[i].Wrote, f.after)
		}
	}
	text, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(text) + "\n"
}

// Undo puts everything back as it was before the first Apply, and forgets that there was one. What somebody else has
// changed since is left as it is now, and told. After an error it can be called again.
func (in *Installation) Undo(h *Host) (done []string, err error) {
	if err := in.mayChange(); err != nil {
		return nil, err
	}
	s, err := in.readState()
	if err != nil {
		return nil, err
	}
	h.Refresh()
	var failed []error
	for _, v := range s.Values {
		if isLimit(v.Key) {
			continue
		}
		line, err := in.putBack(h, v)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		done = append(done, line...)
	}
	for _, f := range s.Files {
		line, err := in.putFileBack(f)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		done = append(done, line...)
	}
	h.Refresh()
	if len(failed) > 0 {
		return done, errors.Join(failed...)
	}
	// Last, so that whatever was interrupted before can be done again.
	if err := in.before("remove " + stateFile); err != nil {
		return done, err
	}
	if err := os.Remove(filepath.Join(in.Root, stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return done, err
	}
	return done, nil
}

// putBack puts a value back, unless it is neither what it was nor what it was made.
func (in *Installation) putBack(h *Host, v savedValue) ([]string, error) {
	now, err := h.Sysctl(v.Key)
	switch {
	case err != nil:
		return nil, err
	case now == v.Before:
		return nil, nil
	case !slices.Contains(v.Wrote, now):
		return []string{fmt.Sprintf("%s is %s, which is somebody else's: left as it is", v.Key, now)}, nil
	}
	if err := in.before("set " + v.Key); err != nil {
		return nil, err
	}
	if err := h.setSysctl(v.Key, v.Before); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("%s: %s -> %s", v.Key, now, v.Before)}, nil
}

// putFileBack puts a file back as it was, or takes it away if there was none.
func (in *Installation) putFileBack(f savedFile) ([]string, error) {
	path := filepath.Join(in.Root, f.Name)
	now, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.Existed:
		return nil, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err == nil && f.Existed && string(now) == f.Before:
		return nil, nil
	case err == nil && !slices.Contains(f.Wrote, string(now)):
		return []string{fmt.Sprintf("/%s is somebody else's now: left as it is", f.Name)}, nil
	case f.Existed:
		if err := in.replace(f.Name, f.Before); err != nil {
			return nil, err
		}
		return []string{fmt.Sprintf("/%s is as it was", f.Name)}, nil
	}
	if err := in.before("remove " + f.Name); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	if folder := filepath.Dir(path); strings.HasSuffix(folder, ".service.d") {
		_ = os.Remove(folder) // it goes if nothing else is in it
	}
	return []string{fmt.Sprintf("/%s is gone", f.Name)}, nil
}
