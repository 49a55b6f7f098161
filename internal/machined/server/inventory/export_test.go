package inventory

import "time"

// WaitForDisks sets how long a caller waits for a disk.
func (r *Reader) WaitForDisks(d time.Duration) { r.health.deadline = d }
