// Package support writes archives of what nodes tell of themselves: a tar, compressed
// with zstd, encrypted with age to the recipients of whoever asked. Each file is made in
// memory, of bounded size, and only what is encrypted leaves it, unless no encryption was
// asked for. The last file, manifest.json, lists what was taken, what was not and why.
package support
