package powercut

import "fmt"

const (
	// tornShare is how many blocks there are, when the power fails, for one of which the sectors have different fates.
	tornShare = 8
	// allLost is how many cuts there are for one at which nothing of the cache was on its way.
	allLost = 4
)

// Loss is what a cut did.
type Loss struct {
	// CachedBytes were not covered by a flush; LostBytes of them did not get to the medium.
	CachedBytes, LostBytes int64
}

// Cut is a power cut: the cache is empty afterwards, and some of what was in it is on the medium. No machine may be using the disk.
func (d *Disk) Cut() (Loss, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	share := d.rand.Float64()
	if d.rand.IntN(allLost) == 0 {
		share = 0
	}
	var loss Loss
	for len(d.cache.order) > 0 {
		c := d.cache.take(len(d.cache.order) - 1)
		mask := c.mask
		switch {
		case share > 0 && d.rand.IntN(tornShare) == 0:
			mask &= uint8(d.rand.Uint32())
		case d.rand.Float64() >= share:
			mask = 0
		}
		loss.CachedBytes += sectors(c.mask) * sectorBytes
		loss.LostBytes += (sectors(c.mask) - sectors(mask)) * sectorBytes
		if err := d.outMasked(c, mask); err != nil {
			return loss, err
		}
	}
	return loss, nil
}

// Freeze ends the disk, whose content is an image from then on: that of a machine which is off, and has flushed all. The caller closes the image.
func (d *Disk) Freeze() (*Image, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.cache.order) > 0 {
		return nil, fmt.Errorf("freeze disk: %w: %d blocks", ErrUnflushed, len(d.cache.order))
	}
	if d.medium == nil {
		return nil, fmt.Errorf("freeze disk: %w", ErrEnded)
	}
	medium := d.medium
	d.medium = nil
	return medium, nil
}

// Close ends the disk and removes what was written to it, unless it was frozen.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.medium == nil {
		return nil
	}
	err := d.medium.Close()
	d.medium = nil
	return err
}
