// Package kmod loads kernel modules from the index files that depmod(8)
// writes: modules.dep, modules.alias, modules.softdep and modules.builtin.
//
// modules.alias is read again for each batch of aliases instead of being kept:
// batches are rare after the boot, and PID 1 must stay small.
package kmod
