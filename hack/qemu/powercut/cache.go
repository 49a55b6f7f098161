package powercut

import "math/bits"

// allSectors is the mask of a whole block.
const allSectors = 1<<(blockBytes/sectorBytes) - 1

// cached is a block in the cache.
type cached struct {
	block int64
	// index is its place in the cache's order.
	index int
	// mask has a bit for each sector that the cache has.
	mask uint8
	data [blockBytes]byte
}

// overlay puts the sectors of a mask over a block.
func (c *cached) overlay(p []byte, mask uint8) {
	for s := range blockBytes / sectorBytes {
		if mask&(1<<s) != 0 {
			copy(p[s*sectorBytes:(s+1)*sectorBytes], c.data[s*sectorBytes:])
		}
	}
}

func sectors(mask uint8) int64 { return int64(bits.OnesCount8(mask)) }

// cache holds what is not on the medium yet.
type cache struct {
	most   int
	blocks map[int64]*cached
	// order has the same blocks, so that one is picked at random in a way that its numbers decide.
	order []*cached
}

func newCache(most int) cache { return cache{most: most, blocks: map[int64]*cached{}} }

func (c *cache) full() bool { return len(c.order) > c.most }

// put takes whole sectors of one block.
func (c *cache) put(block int64, from int, p []byte) {
	b := c.blocks[block]
	if b == nil {
		b = &cached{block: block, index: len(c.order)}
		c.blocks[block] = b
		c.order = append(c.order, b)
	}
	copy(b.data[from:], p)
	for s := from / sectorBytes; s < (from+len(p))/sectorBytes; s++ {
		b.mask |= 1 << s
	}
}

// take removes the block at a place of the order, which the last one takes.
func (c *cache) take(index int) *cached {
	b, last := c.order[index], c.order[len(c.order)-1]
	c.order[index], last.index = last, index
	c.order = c.order[:len(c.order)-1]
	delete(c.blocks, b.block)
	return b
}
