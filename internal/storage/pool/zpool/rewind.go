package zpool

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// rewindLoss is the line of zpool_rewind_exclaim that tells how much is lost.
var rewindLoss = regexp.MustCompile(`approximately ([0-9]{1,12})\s+(seconds|minutes) of transactions`)

// RewindDryRun implements pool.Pools. A dry run that finds nothing to do imports the pool (-F is ignored then, zpool-import(8)); it is read-only, and
// exported again. A claim of another system is what zpool looks at first, and is passed over.
func (z *Zpool) RewindDryRun(ctx context.Context, guid zfs.GUID, devices []string) (pool.Rewind, error) {
	places, err := where(devices)
	if err != nil {
		return pool.Rewind{}, err
	}
	options := append([]string{"import", "-N", "-F", "-n", "-o", "cachefile=none", "-o", "readonly=on"}, places...)
	text, err := z.run(ctx, options, guid.String())
	claimed := errors.Is(err, pool.ErrUsedElsewhere)
	if claimed {
		text, err = z.run(ctx, slices.Insert(options, 1, "-f"), guid.String())
	}
	if ctx.Err() != nil {
		return pool.Rewind{}, ctx.Err()
	}
	rewind := parseRewind(text)
	rewind.Claimed = claimed
	if err != nil {
		return rewind, nil // zpool fails either way: what it prints is the answer
	}
	pools, err := z.Pools(ctx)
	if err != nil {
		return pool.Rewind{}, err
	}
	for _, p := range pools {
		if p.GUID == guid {
			return pool.Rewind{Possible: true, Claimed: claimed, Words: "It can be read without giving anything up."}, z.Export(ctx, p.Name)
		}
	}
	return rewind, nil
}

// parseRewind reads what zpool_rewind_exclaim prints.
func parseRewind(text []byte) pool.Rewind {
	var r pool.Rewind
	flat := sentence(string(text))
	i := strings.Index(flat, "Would be able to return ")
	if i < 0 {
		r.Words = "ZFS finds no state that it could return to."
		return r
	}
	r.Possible, r.Words = true, flat[i:]
	if m := rewindLoss.FindStringSubmatch(flat); m != nil {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		unit := time.Second
		if m[2] == "minutes" {
			unit = time.Minute
		}
		r.Lost = time.Duration(min(n, 1<<24)) * unit
	}
	return r
}
