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
// A change is a new file that is on the disk, name and contents, before the ones that it replaces are removed. A power cut between the two leaves both, of which the
// new one may be empty and counts for nothing then; the next change of the slot makes one of them again.
//
// # What the boot loader does
//
// Read in src/boot/boot.c of systemd 257.13, which images/lock.json pins:
//
//   - Every file *.conf of loader/entries is read (config_load_type1_entries), so the names that a file has while it is written must end otherwise. An
//     entry whose file "efi" is not there is passed over (boot_entry_add_type1). Any EFI program may be started so, a unified kernel image too; with
//     no line "options" it is given no load options, and its stub takes the command line that it holds (process_arguments of src/boot/stub.c).
//     A key "uki" is not known before version 258.
//   - The counter is what follows the last "+" of the name (boot_entry_parse_tries). It is changed before the entry is started, by a rename through
//     the firmware's FAT driver (boot_entry_bump_counters). If that fails, this is printed and the entry is started all the same: on a machine
//     whose firmware cannot write the partition a trial goes on until the release itself gives up.
//   - Entries without tries come last, then sort-key, machine-id (there is none here) and version decide, the last by strverscmp_improved, which compares
//     numbers as numbers; then the name without the counter; and then, if both have counters, more tries left (boot_entry_compare). Two files
//     of one slot and generation, one with a counter and one without, stay in the order of the directory.
//   - The first entry of that order is taken, one without tries too if there is no other, unless one of the variables LoaderEntryOneShot and
//     LoaderEntryDefault or the line "default" of loader.conf names another (config_select_default_entry). Nothing here sets any; a person at the
//     menu can.
//   - Last of the counting, the variable LoaderBootCountPath is set to the file's new name, for this boot only. Blessing does not need it: systemd-bless-boot
//     finds the file by it and does nothing but rename that, as Bless does, and the boot loader never reads it.
//   - An image that the firmware refuses to load ends the boot loader (image_start): the firmware goes on with whatever it starts next, and what
//     becomes of the machine is up to it. The counter was taken off before, so one more reset is enough. The setting "reboot-on-error" is not
//     known before version 258.
package loader
