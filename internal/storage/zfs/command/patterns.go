package command

import "github.com/cyvive/cyvive/internal/storage/zfs"

// pattern is a text of OpenZFS that tells what went wrong.
type pattern struct {
	// text is found in what the program said, with every run of white space as one space.
	text  string
	class error
	// source is file and function in OpenZFS 2.3.9.
	source string
}

const (
	util    = "lib/libzfs/libzfs_util.c:"
	dataset = "lib/libzfs/libzfs_dataset.c:"
	stream  = "lib/libzfs/libzfs_sendrecv.c:"
	program = "cmd/zfs/zfs_main.c:"
)

// patterns is the table of texts by which errors are known. The special comes before the general. Each entry has a case in TestVMPatterns, which
// provokes it.
func patterns() []pattern {
	return append(streamPatterns(), datasetPatterns()...)
}

// streamPatterns are those of sending and receiving.
func streamPatterns() []pattern {
	return []pattern{
		{"resume token is corrupt", zfs.ErrBadToken, stream + "zfs_send_resume_token_to_nvlist"},
		{"' used in the initial send no longer exists", zfs.ErrBadToken, stream + "zfs_send_resume_impl_cb_impl"},
		{"' is no longer the same snapshot used in the initial send", zfs.ErrBadToken, stream + "zfs_send_resume_impl_cb_impl"},
		{"cannot resume send: incremental source 0x", zfs.ErrBadToken, stream + "zfs_send_resume_impl_cb_impl"},
		{"cannot receive resume stream: Resuming recv on existing destination '", zfs.ErrExist, stream + "zfs_receive_one"},
		{"cannot receive resume stream: destination '", zfs.ErrNotExist, stream + "zfs_receive_one"},
		{`contains partially-complete state from "zfs receive -s"`, zfs.ErrPartial, stream + "zfs_receive_one"},
		{"' does not have any resumable receive state to abort", zfs.ErrNotExist, program + "zfs_do_receive"},
		{"does not match incremental source", zfs.ErrNoBase, stream + "zfs_receive_one"},
		{"cannot receive: local origin for clone", zfs.ErrNoBase, stream + "zfs_receive_one"},
		{"has been modified since most recent snapshot", zfs.ErrModified, stream + "zfs_receive_one"},
		{"' exists must specify -F to overwrite it", zfs.ErrExist, stream + "zfs_receive_one"},
		{": destination already exists", zfs.ErrExist, stream + "zfs_receive_one"},
		{"cannot receive incremental stream: destination '", zfs.ErrNotExist, stream + "zfs_receive_one"},
		{"space quota exceeded.", zfs.ErrNoSpace, stream + "zfs_receive_one"},
		{"checksum mismatch", zfs.ErrBadStream, stream + "recv_ecksum_set_aux"},
		{"incomplete stream", zfs.ErrBadStream, stream + "recv_ecksum_set_aux"},
		{"cannot receive: failed to read from stream", zfs.ErrBadStream, stream + "recv_read"},
		{"cannot receive: invalid stream (bad magic number)", zfs.ErrBadStream, stream + "zfs_receive_impl"},
		// What ZFS says of a stream that goes on with something else than is there (dmu_recv_resume_begin_check in module/zfs/dmu_recv.c: EINVAL):
		// the first with --embed, the second with -s, and the third without either.
		{": incompatible embedded data stream feature with encrypted receive.", zfs.ErrBadStream, stream + "zfs_receive_one"},
		{": kernel modules must be upgraded to receive this stream.", zfs.ErrBadStream, stream + "zfs_receive_one"},
		{": invalid backup stream", zfs.ErrBadStream, util + "libzfs_error_description"},
		{": incremental send stream requires -L (--large-block)", zfs.ErrBadStream, stream + "zfs_receive_one"},
		{": not an earlier snapshot from the same fs", zfs.ErrInvalid, stream + "zfs_send_one_cb_impl"},
		{"': incremental source (", zfs.ErrNotExist, stream + "zfs_send_one_cb_impl"},
		// estimate_size prints what strerror(3) has for ESRCH of dsl_bookmark_lookup_impl in module/zfs/dsl_bookmark.c.
		{": No such process", zfs.ErrNotExist, stream + "estimate_size"},
	}
}

// datasetPatterns are those of all else.
func datasetPatterns() []pattern {
	return []pattern{
		{": it's being held. Run 'zfs holds", zfs.ErrHeld, dataset + "zfs_destroy_snaps_nvl"},
		{"': filesystem has children use '-r'", zfs.ErrHasDependents, program + "destroy_check_dependent"},
		{"': volume has children use '-r'", zfs.ErrHasDependents, program + "destroy_check_dependent"},
		{"': snapshot has dependent clones use '-R'", zfs.ErrHasDependents, program + "destroy_check_dependent"},
		{": more recent snapshots or bookmarks exist", zfs.ErrHasDependents, program + "rollback_check"},
		{"': conflicting snapshot '", zfs.ErrExist, dataset + "zfs_promote"},
		{": dataset already exists", zfs.ErrExist, util + "zfs_standard_error_fmt"},
		{": bookmark exists", zfs.ErrExist, program + "zfs_do_bookmark"},
		{": tag already exists on this dataset", zfs.ErrExist, util + "libzfs_error_description"},
		{": no such tag on this dataset", zfs.ErrNotExist, util + "libzfs_error_description"},
		{"could not find any snapshots to destroy", zfs.ErrNotExist, program + "zfs_do_destroy"},
		{"' does not exist.", zfs.ErrNotExist, program + "zfs_do_destroy"},
		{": dataset does not exist", zfs.ErrNotExist, util + "zfs_standard_error_fmt"},
		{": parent does not exist", zfs.ErrNotExist, dataset + "check_parents"},
		{": no such pool or dataset", zfs.ErrNotExist, util + "libzfs_error_description"},
		{": no such pool", zfs.ErrNotExist, dataset + "check_parents"},
		{": dataset is busy", zfs.ErrBusy, util + "zfs_standard_error_fmt"},
		{": pool or dataset is busy", zfs.ErrBusy, util + "libzfs_error_description"},
		{": pool is read-only", zfs.ErrReadOnly, util + "libzfs_error_description"},
		{": out of space", zfs.ErrNoSpace, util + "libzfs_error_description"},
		{": size is greater than available space", zfs.ErrNoSpace, util + "zfs_setprop_error"},
		{": pool I/O is currently suspended", zfs.ErrSuspended, util + "zfs_standard_error_fmt"},
		{"' is readonly", zfs.ErrReadOnly, dataset + "zfs_valid_proplist"},
		{" property is read-only", zfs.ErrReadOnly, program + "zfs_do_inherit"},
		{"' property cannot be inherited", zfs.ErrInvalid, program + "zfs_do_inherit"},
		{"invalid property '", zfs.ErrInvalid, dataset + "zfs_valid_proplist"},
		{"' must be one of '", zfs.ErrInvalid, util + "zprop_parse_value"},
		{": bad numeric value '", zfs.ErrInvalid, util + "zfs_nicestrtonum"},
		{": invalid numeric suffix '", zfs.ErrInvalid, util + "str2shift"},
		{": numeric value is too large", zfs.ErrInvalid, util + "zfs_nicestrtonum"},
		{"' must be power of 2 from 512B to", zfs.ErrInvalid, dataset + "zfs_valid_proplist"},
		{"' does not apply to datasets of this type", zfs.ErrInvalid, dataset + "zfs_valid_proplist"},
		{"' must be a multiple of volume block size", zfs.ErrInvalid, dataset + "zfs_valid_proplist"},
		{": use 'none' to disable quota/refquota", zfs.ErrInvalid, util + "zprop_parse_value"},
		{": size is less than current used or reserved space", zfs.ErrInvalid, util + "zfs_setprop_error"},
		{"' must be an absolute path, 'none', or 'legacy'", zfs.ErrInvalid, dataset + "zfs_valid_proplist"},
		{": invalid character '", zfs.ErrInvalid, dataset + "zfs_validate_name"},
		{": maximum name nesting depth exceeded", zfs.ErrInvalid, dataset + "zfs_create"},
		{": parent is not a filesystem", zfs.ErrInvalid, dataset + "check_parents"},
		{": not a cloned filesystem", zfs.ErrInvalid, dataset + "zfs_promote"},
		{": snapshots must be part of same dataset", zfs.ErrInvalid, dataset + "zfs_rename"},
		{": datasets must be within same pool", zfs.ErrInvalid, dataset + "zfs_rename"},
		{": New dataset name cannot be a descendant of current dataset name", zfs.ErrInvalid, dataset + "zfs_rename"},
		{": source and target pools differ", zfs.ErrInvalid, dataset + "zfs_clone"},
		{": multiple snapshots of same fs not allowed", zfs.ErrInvalid, dataset + "zfs_snapshot_nvl"},
		{": source is not an ancestor of the new bookmark's dataset", zfs.ErrInvalid, program + "zfs_do_bookmark"},
		{": operation does not apply to pools", zfs.ErrInvalid, program + "zfs_do_destroy"},
		{": operation not applicable to datasets of this type", zfs.ErrInvalid, util + "libzfs_error_description"},
	}
}
