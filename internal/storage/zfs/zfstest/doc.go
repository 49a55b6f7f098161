// Package zfstest is OpenZFS in memory, faults for any OpenZFS, and the tests that both have to pass.
//
// [Model] implements zfs.System: datasets with GUIDs and transaction groups, snapshots, holds, bookmarks, clones, properties with their sources, and
// send streams that can be cut, resumed and refused. What a real system does in each case is taken from the source of OpenZFS 2.3.9; the function is
// named where it is not plain from the manual pages. A dataset's contents are the records that were written to it, one after the other, so that a
// snapshot is a length of that list and an incremental stream what lies between two.
//
// [Faulty] stands before any zfs.System, the model or the real one, and fails, crashes or cuts streams where a test orders it; so a scenario runs the
// same on both. [Conformance] is one body of tests of what package replication and others rely on, by zfs.System alone.
//
// What the model leaves out: space and quotas, mounting, encryption keys that are not loaded, redaction, healing receives, and streams of several
// datasets.
package zfstest
