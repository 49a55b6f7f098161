// Package lock holds the pinned Debian inputs of the image: which packages,
// in which version, where in a mirror's pool, and with which SHA-256. It
// names no mirror host. The file is images/lock.json; `mkimage lock` writes it.
package lock
