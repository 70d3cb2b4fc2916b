package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What a server would be refused by this machine is looked at without opening or making anything, so that a
// configuration can be checked beside the server that runs.

// socketFile checks the file of a unix socket, which is made anew by whoever listens.
func (r *rules) socketFile(path string, a Address) {
	if a.Network != Unix || strings.HasPrefix(a.Path, "@") {
		return
	}
	if found, err := os.Lstat(a.Path); err == nil && found.Mode().Type() != fs.ModeSocket {
		r.refuse(fmt.Sprintf("%s is there, and is no socket", a.Path), "choose another name, or remove it", path)
		return
	}
	r.folderOf(a.Path, path)
}

// folderOf checks that a file can be in the folder that its name says.
func (r *rules) folderOf(name, path string) {
	folder := filepath.Dir(name)
	switch about, err := os.Stat(folder); {
	case err != nil:
		r.refuse(fmt.Sprintf("%s cannot be made in %q: %v", name, folder, cause(err)),
			"make the folder first, or choose another", path)
	case !about.IsDir():
		r.refuse(fmt.Sprintf("%s cannot be made in %q: it is no folder", name, folder), "choose another folder", path)
	}
}

// cause is an error without the name of the call and of the file.
func cause(err error) error {
	if of := (*fs.PathError)(nil); errors.As(err, &of) {
		return of.Err
	}
	return err
}

// logFile checks the file of the access log.
func (r *rules) logFile(name, path string) {
	about, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.folderOf(name, path)
	case err != nil:
		r.refuse(fmt.Sprintf("%s cannot be written: %v", name, cause(err)), "write the path of a file", path)
	case about.IsDir():
		r.refuse(name+" is a folder", "write the path of a file in it", path)
	}
}

const congestionControls = "/proc/sys/net/ipv4/tcp_available_congestion_control"

// congestion checks that the kernel has a congestion control, or a module with it, which it loads when asked.
func (r *rules) congestion(name, path string) {
	if name == "auto" || name == "system" {
		return
	}
	if name == "" || len(name) > 15 { // TCP_CA_NAME_MAX
		r.refuse(fmt.Sprintf("%q is no name of a congestion control", name),
			"write auto, system, or one of "+congestionControls, path)
		return
	}
	text, err := os.ReadFile(congestionControls)
	if err != nil {
		return // whether there is such a control is for the kernel to say
	}
	known := strings.Fields(string(text))
	if slices.Contains(known, name) || loadable("tcp_"+name) {
		return
	}
	r.refuse(fmt.Sprintf("the kernel has no congestion control %q", name),
		"write auto, system, or what it has: "+strings.Join(known, ", "), path)
}

// loadable tells whether the running kernel has a module of a name on its disk.
func loadable(name string) bool {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return false
	}
	modules, err := os.ReadFile("/lib/modules/" + strings.TrimSpace(string(release)) + "/modules.dep")
	return err == nil && strings.Contains(string(modules), "/"+name+".ko")
}
