package balance

import "slices"

// MaglevSize is the usual number of entries in the table of [Maglev].
const MaglevSize = 65_537

// Maglev sends a key to the same member every time, in every process, and when a member comes or goes, hardly any
// other key moves (Eisenbud and others, NSDI 2016, section 3.4). A key whose member is refused goes on to other
// members in an order that is fixed for it, and the keys of one member spread over all others.
type Maglev struct {
	// Size is how many entries the table has, 4 bytes each; 0 means MaglevSize. It is raised to the next prime, and
	// to more than the members where there are that many. A hundred for each member keep the shares within about a
	// percent.
	Size int
}

// maxMaglevSize keeps a slip in a configuration from taking all memory.
const maxMaglevSize = 1 << 26

// Name returns "maglev".
func (Maglev) Name() string { return "maglev" }

// Build fills the table: some milliseconds for the usual size.
func (m Maglev) Build(members []Member) Picker {
	size := m.Size
	if size <= 0 {
		size = MaglevSize
	}
	size = nextPrime(max(min(size, maxMaglevSize), len(members)+1))
	return &maglev{table{entries: fill(members, uint64(size)), members: len(members)}}
}

type maglev struct{ table }

func (p *maglev) Pick(key uint64, ok func(int) bool) int {
	return p.walk(p.position(mix(key)), ok)
}

// permutation is the order in which a member wants the entries of the table: at, at+skip, at+2*skip and so on. The
// size is prime, so it comes to every entry.
type permutation struct {
	at, skip uint64
	member   uint32
	weight   uint64
	credit   uint64 // turns it has earned, in units of the greatest weight
}

// fill lets the members take entries in turn, each the next free one it wants. A member of the greatest weight takes
// one a round, others fewer; in the first round everyone takes one, so that every member is in the table.
func fill(members []Member, size uint64) []uint32 {
	if len(members) == 0 {
		return nil
	}
	const free = 1<<32 - 1
	entries := make([]uint32, size)
	for i := range entries {
		entries[i] = free
	}
	wishes := permutations(members, size)
	greatest := slices.Max(weightsOf(members))
	for i := range wishes {
		wishes[i].credit = greatest - wishes[i].weight
	}
	for left := size; ; {
		for i := range wishes {
			p := &wishes[i]
			if p.credit += p.weight; p.credit < greatest {
				continue
			}
			p.credit -= greatest
			for entries[p.at] != free {
				p.at = (p.at + p.skip) % size
			}
			entries[p.at] = p.member
			if left--; left == 0 {
				return entries
			}
		}
	}
}

// permutations returns the members' wishes in the order of their names, so that the order of the list does not
// matter.
func permutations(members []Member, size uint64) []permutation {
	weights := weightsOf(members)
	wishes := make([]permutation, len(members))
	for i, m := range members {
		hash := hashOf(m.Name)
		wishes[i] = permutation{
			at:     hash % size,
			skip:   mix(hash)%(size-1) + 1,
			member: uint32(i),
			weight: weights[i],
		}
	}
	slices.SortStableFunc(wishes, func(a, b permutation) int {
		switch x, y := members[a.member].Name, members[b.member].Name; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return wishes
}

// hashOf is FNV-1a with its weak low bits mixed. It must never change: processes of different versions work together.
func hashOf(name string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(name) {
		hash = (hash ^ uint64(name[i])) * 1099511628211
	}
	return mix(hash)
}

// nextPrime returns the first prime from n on, and at least 3.
func nextPrime(n int) int {
	for n = max(n, 3); ; n++ {
		isPrime := true
		for d := 2; d*d <= n; d++ {
			if n%d == 0 {
				isPrime = false
				break
			}
		}
		if isPrime {
			return n
		}
	}
}
