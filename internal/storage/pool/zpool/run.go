package zpool

import (
	"context"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Runner runs zpool with arguments. It returns what the program has written to its standard output, also when it failed; the error then names the
// command and has what was said on standard error. It ends with ctx.
type Runner interface {
	Run(ctx context.Context, args ...string) (stdout []byte, err error)
}

// RunnerFunc is a function as a Runner.
type RunnerFunc func(ctx context.Context, args ...string) (stdout []byte, err error)

// Run implements Runner.
func (f RunnerFunc) Run(ctx context.Context, args ...string) ([]byte, error) { return f(ctx, args...) }

// Zpool is the program. It keeps nothing, and may be used concurrently.
type Zpool struct{ runner Runner }

var _ pool.Pools = (*Zpool)(nil)

// New returns the program behind a runner.
func New(r Runner) *Zpool { return &Zpool{runner: r} }

// run runs a command. Operands are names and paths, of which none may be taken for an option.
func (z *Zpool) run(ctx context.Context, options []string, operands ...string) ([]byte, error) {
	for _, o := range operands {
		if o == "" || strings.HasPrefix(o, "-") || strings.ContainsAny(o, "\x00\n") {
			return nil, fmt.Errorf("run zpool %s: %q %w: expected a name or a path", strings.Join(options, " "), o, zfs.ErrInvalid)
		}
	}
	out, err := z.runner.Run(ctx, append(options[:len(options):len(options)], operands...)...)
	return out, classed(err, operands)
}

// do runs a command whose output is of no use.
func (z *Zpool) do(ctx context.Context, options []string, operands ...string) error {
	_, err := z.run(ctx, options, operands...)
	return err
}

// class is an error class and the texts by which it is known.
type class struct {
	err   error
	texts []string
}

// classes are looked through in order. Texts are of libzfs_error_description in lib/libzfs/libzfs_util.c but where another place is named. The tests in a virtual machine
// provoke them, but for these of OpenZFS 2.3.9:
//
//   - "pool is imported on" (cmd/zpool/zpool_main.c:3846, lib/libzfs/libzfs_pool.c and libzfs_util.c:285): another system has to write to the pool meanwhile;
//   - "using an unsupported ZFS version" (zpool_main.c:3821): no program that there is makes a pool of a later version, as features have taken the place of versions;
//   - "pool export in progress" (libzfs_util.c:309): two exports of one pool have to meet;
//   - "currently sequentially resilvering" (libzfs_util.c:311): nothing here begins such a resilver, nor can one be held up;
//   - "wait for completion" (libzfs_pool.c:3691): of a spare that stands in, and that is replaced by what is none;
//   - "is in use" (cmd/zpool/os/linux/zpool_vdev_os.c:330, libzfs_util.c:216): of a block device that another has open for itself.
func classes() []class {
	return []class{
		{zfs.ErrSuspended, []string{"pool I/O is currently suspended"}},
		{pool.ErrUsedElsewhere, []string{"pool was previously in use from another system"}},             // do_import in cmd/zpool/zpool_main.c
		{pool.ErrInUseElsewhere, []string{"pool is imported on", "pool has the multihost property on"}}, // EZFS_ACTIVE_POOL, and do_import
		{pool.ErrNewer, []string{"unsupported version or feature", "using an unsupported ZFS version"}},
		{pool.ErrLastCopy, []string{"no valid replicas"}},
		{pool.ErrTooSmall, []string{"device is too small", "is less than the minimum size"}}, // zpool_vdev_attach, zpool_create
		{zfs.ErrNotExist, []string{
			"no such pool", "no such device in pool",
			"couldn't find device", "device not in pool", // zpool_do_online, zpool_do_set
		}},
		{zfs.ErrExist, []string{"pool already exists", "pool or dataset exists", "a pool with that name", "checkpoint exists"}},
		{zfs.ErrNoSpace, []string{"out of space"}},
		{zfs.ErrReadOnly, []string{"pool is read-only", "read-only property", "is readonly"}},
		{zfs.ErrBusy, []string{
			"is busy", "currently resilvering", "currently sequentially resilvering", "currently scrubbing", "currently trimming",
			"removal in progress", "is in use", "is part of active pool", "pool export in progress", "wait for completion",
			"is already in progress", "Pool busy; removal may already be in progress", // zpool_vdev_remove in lib/libzfs/libzfs_pool.c
		}},
		{zfs.ErrInvalid, []string{
			"invalid property", "invalid name", "invalid vdev", "invalid target vdev", "must be one of",
			"device is reserved as a hot spare", "cannot expand cache devices", // zpool_vdev_online in lib/libzfs/libzfs_pool.c
			"invalid character", "name is reserved", "name must begin", // zpool_name_valid there
		}},
	}
}

// classed gives an error of the runner its class. Names of pools and comments may have spaces in them; those are taken out first, so that none can say what
// is the program's to say.
func classed(err error, operands []string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, o := range operands {
		if strings.Contains(o, " ") {
			text = strings.ReplaceAll(text, o, "")
		}
	}
	for _, c := range classes() {
		for _, t := range c.texts {
			if strings.Contains(text, t) {
				return fmt.Errorf("%w: %w", c.err, err)
			}
		}
	}
	return err
}
