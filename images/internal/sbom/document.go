package sbom

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// noAssertion is SPDX's word for what is not claimed (SPDX 2.3, 7.7 and 7.15).
const noAssertion = "NOASSERTION"

// Component is a package of the document.
type Component struct {
	// ID tells it from all others; it becomes the SPDX identifier.
	ID            string
	Name, Version string
	// PURL is its package URL.
	PURL string
	// SHA256 is of the package or program, in hex; empty where there is none,
	// as for Go modules, whose sums are of another kind.
	SHA256 string
	// License is an SPDX expression, empty where it is not known; LicenseNote
	// holds names that are none of SPDX's.
	License, LicenseNote string
	// Source says where it comes from, for people.
	Source string
	// DependsOn are IDs of components that are part of it.
	DependsOn []string
}

// Image is what the document is about.
type Image struct {
	Name, Version, Arch string
	// License is an SPDX expression, empty where none is claimed.
	License string
	At      time.Time
	// Contains are the packages and programs; Linked the modules that their
	// DependsOn names.
	Contains, Linked []Component
}

// Document makes the document. Components are taken in the order given.
func Document(im Image) *spdx.Document {
	root := Component{ID: "image", Name: im.Name, Version: im.Version, License: im.License,
		PURL: "pkg:generic/" + im.Name + "@" + im.Version + "?arch=" + im.Arch}
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: fmt.Sprintf("%s-%s-%s", im.Name, im.Version, im.Arch),
		CreationInfo: &spdx.CreationInfo{
			Created:  im.At.UTC().Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "mkimage"}},
		},
	}
	relate := func(a, kind, b string) {
		doc.Relationships = append(doc.Relationships, &spdx.Relationship{
			RefA: common.MakeDocElementID("", a), RefB: common.MakeDocElementID("", b), Relationship: kind,
		})
	}
	doc.Packages = append(doc.Packages, pkg(root))
	relate("DOCUMENT", common.TypeRelationshipDescribe, elementID(root.ID))
	for _, c := range im.Contains {
		doc.Packages = append(doc.Packages, pkg(c))
		relate(elementID(root.ID), common.TypeRelationshipContains, elementID(c.ID))
		for _, d := range c.DependsOn {
			relate(elementID(c.ID), common.TypeRelationshipDependsOn, elementID(d))
		}
	}
	for _, c := range im.Linked {
		doc.Packages = append(doc.Packages, pkg(c))
	}
	doc.DocumentNamespace = namespace(doc)
	return doc
}

// namespace is unique to the content, as SPDX asks (2.3, 6.5).
func namespace(doc *spdx.Document) string {
	h := sha256.New()
	for _, p := range doc.Packages {
		fmt.Fprintln(h, p.PackageSPDXIdentifier, p.PackageVersion, p.PackageChecksums)
	}
	return fmt.Sprintf("https://cyvive.dev/spdx/%s-%x", doc.DocumentName, h.Sum(nil)[:8])
}

func pkg(c Component) *spdx.Package {
	p := &spdx.Package{
		PackageName: c.Name, PackageSPDXIdentifier: common.ElementID(elementID(c.ID)), PackageVersion: c.Version,
		PackageDownloadLocation: noAssertion, PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion,
		PackageCopyrightText: noAssertion, PackageSourceInfo: c.Source, PackageLicenseComments: c.LicenseNote,
		PackageExternalReferences: []*spdx.PackageExternalReference{
			{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: c.PURL},
		},
	}
	if c.License != "" {
		p.PackageLicenseDeclared = c.License
	}
	if c.SHA256 != "" {
		p.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: c.SHA256}}
	}
	return p
}

// elementID makes an SPDX identifier, of letters, digits, "." and "-" (2.3, 3.2).
func elementID(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, "Package-"+id)
}

// Write writes the document as JSON.
func Write(doc *spdx.Document, w io.Writer) error {
	return json.Write(doc, w, json.EscapeHTML(false), json.Indent(" "))
}
