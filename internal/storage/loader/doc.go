// Package loader keeps the boot loader's entries: what systemd-boot reads on the EFI system partition.
//
// Each slot has at most one entry and one unified kernel image:
//
//	/loader/entries/cyvive-b+2-1.conf   an entry of the Boot Loader Specification, type 1
//	/EFI/cyvive/b.efi                   what it starts
//
// The counter is in the entry's name ("Boot counting" in the specification): +LEFT-DONE. The boot loader takes one off at each start, by
// renaming the file, and puts entries with none left behind all others. A name without a counter is an entry that is started always.
//
// Of several entries the boot loader takes the one with the highest version. That field holds a generation here, one higher with each entry that is
// put, so that the newest one is tried whatever release it is: going back to an older release is an upgrade like any other. No variable of the
// firmware is needed, which some machines cannot write.
//
// A change is a new file that is on the disk before the ones that it replaces are removed. A power cut between the two leaves both; the next change
// of the slot makes one of them again.
package loader
