// Package sourcetest holds a server for the metadata service of each platform, which answers as the platform documents it, the ways in which
// such a server fails, and the conformance suite that every place of a configuration passes.
package sourcetest
