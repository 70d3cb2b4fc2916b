package loop

const (
	placeBits   = 10
	placesChunk = 1 << placeBits
)

// places hold what handlers attach to connections: 16 bytes for one that has something, none for any other. They come
// in chunks that never move, so that there is no growth to be paid for by the request that brings it.
type places struct {
	chunks []*[placesChunk]any
	free   []uint32
	made   uint32
}

func (p *places) at(place uint32) *any { return &p.chunks[place>>placeBits][place&(placesChunk-1)] }

// take is the number of a place that holds nothing.
func (p *places) take() uint32 {
	if n := len(p.free); n > 0 {
		place := p.free[n-1]
		p.free = p.free[:n-1]
		return place
	}
	if p.made&(placesChunk-1) == 0 {
		p.chunks = append(p.chunks, new([placesChunk]any))
	}
	p.made++
	return p.made - 1
}

// give takes a place back.
func (p *places) give(place uint32) {
	*p.at(place) = nil
	p.free = append(p.free, place)
}

// Attach keeps v with the connection.
func (c *connection) Attach(v any) {
	p := &c.on().places
	switch {
	case v == nil && c.attached == 0:
	case v == nil:
		p.give(c.attached - 1)
		c.attached = 0
	default:
		if c.attached == 0 {
			c.attached = p.take() + 1
		}
		*p.at(c.attached - 1) = v
	}
}

// Attached is what Attach has kept.
func (c *connection) Attached() any {
	if c.attached == 0 {
		return nil
	}
	return *c.on().places.at(c.attached - 1)
}
