// Package sbom writes the image's bill of materials: an SPDX 2.3 document that
// names every Debian package of which a file is in the image, every program, and
// every Go module that is linked into one of them, as the programs themselves say
// (debug/buildinfo). The same image gives the same bytes.
package sbom
