package csi

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Names that no volume and no snapshot of Kubernetes can have, since they begin with '_' (see the package comment).
const (
	trashName     = "_deleted"
	deletedPrefix = "_deleted-"
	clonePrefix   = "_clone-"
	newPrefix     = "_new-"
)

// maxComponent is how long the name of a volume or snapshot is at most: two of them and a '@' are an id, which CSI limits to 128 bytes.
const maxComponent = 63

// hashed begins names that are a hash.
const hashed = "x-"

// componentOf makes the name of a dataset or snapshot of a name that Kubernetes gives, which may be any text. Plain ones are taken as they are, so
// that a person finds pvc-… again. All others, and those that look like what is made of others, are replaced by 160 bits of their SHA-256. So
// different names stay different.
func componentOf(name string) string {
	if isComponent(name) && !strings.HasPrefix(name, hashed) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hashed + hex.EncodeToString(sum[:20])
}

// isComponent says whether a text is such a name. Letters, digits and dashes are a part of what ZFS takes (zfs_namecheck.c), and leave '.', '_', '@',
// '#', '/' and '%' for what has a meaning.
func isComponent(s string) bool {
	return s != "" && len(s) <= maxComponent && s[0] != '-' && onlyOf(s, "-")
}

// isSegment says whether a text may be the value of a topology: letters, digits, '-', '_' and '.', and a letter or digit at both ends.
func isSegment(s string) bool {
	return s != "" && len(s) <= 63 && onlyOf(s, "-_.") && onlyOf(s[:1], "") && onlyOf(s[len(s)-1:], "")
}

// IsParent says whether a text is the name of a file system below a pool that can be a parent of volumes, there or not.
func IsParent(s string) bool {
	parts := strings.Split(s, "/")
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || !onlyOf(part, "-_.:") {
			return false
		}
	}
	return len(parts) > 1 && len(s) <= maxParent && onlyOf(s[:1], "") && !strings.Contains("/"+s+"/", "/"+trashName+"/")
}

// onlyOf says whether a text has only ASCII letters, digits, and what is in others.
func onlyOf(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(others, c) >= 0) {
			return false
		}
	}
	return true
}

// snapshotID is the id of a snapshot.
func snapshotID(volume, name string) string { return volume + "@" + name }

// parseSnapshotID takes one apart; what is none is not ok, and names no snapshot.
func parseSnapshotID(id string) (volume, name string, ok bool) {
	volume, name, ok = strings.Cut(id, "@")
	return volume, name, ok && isComponent(volume) && isComponent(name)
}

// trashOf is the file system for deleted volumes of a parent.
func trashOf(parent string) string { return parent + "/" + trashName }

// trashed is the name of a volume that is deleted.
func trashed(parent, id string, guid zfs.GUID) string {
	return trashOf(parent) + "/" + id + "." + guid.String()
}

// unmade is the name of a volume until it is whole.
func unmade(parent, id string) string { return parent + "/" + newPrefix + id }

// unmadeOf finds out which volume a dataset is to become. One that has another name is not ok.
func (d *Driver) unmadeOf(dataset string) (place, bool) {
	for _, parent := range d.parents() {
		if id, is := strings.CutPrefix(dataset, unmade(parent, "")); is {
			return place{parent: parent, id: id}, isComponent(id)
		}
	}
	return place{}, false
}

// place says where a dataset is that a volume has, or had.
type place struct {
	parent, id string
	deleted    bool
}

// placeOf finds out of which volume a dataset is. One that is none of the driver's is not ok.
func (d *Driver) placeOf(dataset string) (place, bool) {
	for _, parent := range d.parents() {
		rest, below := strings.CutPrefix(dataset, parent+"/")
		if !below {
			continue
		}
		id, inTrash := strings.CutPrefix(rest, trashName+"/")
		if inTrash {
			var guid string
			id, guid, inTrash = strings.Cut(id, ".")
			if !inTrash || !onlyOf(guid, "") {
				return place{}, false
			}
			return place{parent: parent, id: id, deleted: true}, isComponent(id)
		}
		return place{parent: parent, id: id}, isComponent(id)
	}
	return place{}, false
}
