package sim

// firstFile is the lowest descriptor of a simulated file.
const firstFile = 1 << 28

// File is a regular file with a holder count. It is a conn.File.
type File struct {
	kernel  *Kernel
	content []byte
	index   int
	holds   int
}

// File makes a file that is held once.
func (k *Kernel) File(content []byte) *File {
	f := &File{kernel: k, content: content, index: len(k.files), holds: 1}
	k.files = append(k.files, f)
	return f
}

// Descriptor is the number for Op.From.
func (f *File) Descriptor() int { return firstFile + f.index }

// Holds is the number of holders.
func (f *File) Holds() int { return f.holds }

// Hold adds a holder.
func (f *File) Hold() { f.holds++ }

// Release takes one away.
func (f *File) Release() {
	if f.holds--; f.holds < 0 {
		f.kernel.Fail("file %d was released more often than held", f.index)
	}
}

// Truncate makes the file shorter.
func (f *File) Truncate(size int) { f.content = f.content[:min(size, len(f.content))] }

// fileOf is the file of a descriptor, if somebody holds it.
func (k *Kernel) fileOf(number int) *File {
	index := number - firstFile
	if index < 0 || index >= len(k.files) || k.files[index].holds == 0 {
		return nil
	}
	return k.files[index]
}
