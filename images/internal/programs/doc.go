// Package programs builds the Go programs of the image: those of the project
// itself from the repository's root module, the third-party ones from the
// images modules. All are static; the same sources and the same Go release
// give the same bytes (-trimpath, no version control stamp, no build ID).
package programs
