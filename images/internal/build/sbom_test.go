package build

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/cyvive/cyvive/images/internal/programs"
)

// imageSBOM reads the bill of materials out of the built image.
func imageSBOM(t *testing.T) *spdx.Document {
	t.Helper()
	var doc spdx.Document
	if err := spdxjson.ReadInto(bytes.NewReader(builtImage(t).files[cyviveDir+"/sbom.spdx.json"]), &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

func TestSBOMIsValid(t *testing.T) {
	doc := imageSBOM(t)
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Errorf("the bill of materials is not valid: %v", err)
	}
	names := map[string]bool{}
	for _, p := range doc.Packages {
		names[p.PackageName] = true
		if p.PackageVersion == "" || len(p.PackageExternalReferences) != 1 {
			t.Errorf("%s has version %q and %d package URLs", p.PackageName, p.PackageVersion, len(p.PackageExternalReferences))
		}
		if strings.HasPrefix(string(p.PackageSPDXIdentifier), "Package-go-") && p.PackageLicenseDeclared == "NOASSERTION" {
			t.Errorf("the licence of %s was not recognised; look at its sources", p.PackageName)
		}
	}
	for _, p := range programs.Table() {
		if !p.Host && !names[p.Name] {
			t.Errorf("the program %s is not in the bill of materials", p.Name)
		}
	}
	for _, must := range []string{"libc6", "openzfs", "systemd-boot-efi", "stdlib", "google.golang.org/grpc"} {
		if !names[must] {
			t.Errorf("%s is not in the bill of materials", must)
		}
	}
}

// TestReleaseNamesEveryComponent holds release.json, which nodectl version shows,
// against the bill of materials: what the image contains directly is in both.
func TestReleaseNamesEveryComponent(t *testing.T) {
	var r struct{ Components []component }
	if err := json.Unmarshal(builtImage(t).files[cyviveDir+"/release.json"], &r); err != nil {
		t.Fatal(err)
	}
	released := map[string]string{}
	for _, c := range r.Components {
		released[c.Name] = c.Version
		if c.Source == "" {
			t.Errorf("%s of release.json has no source", c.Name)
		}
	}
	doc := imageSBOM(t)
	for _, rel := range doc.Relationships {
		if rel.Relationship != "CONTAINS" {
			continue
		}
		i := slices.IndexFunc(doc.Packages, func(p *spdx.Package) bool { return p.PackageSPDXIdentifier == rel.RefB.ElementRefID })
		if i < 0 {
			t.Errorf("the image contains %s, which is no package of the document", rel.RefB.ElementRefID)
			continue
		}
		if p := doc.Packages[i]; released[p.PackageName] != p.PackageVersion {
			t.Errorf("release.json has %s %q, the bill of materials %q", p.PackageName, released[p.PackageName], p.PackageVersion)
		}
	}
}

// TestVEX checks the reviewed statements about vulnerabilities: each is of the form
// that OpenVEX 0.2.0 asks for and about a component of the image.
func TestVEX(t *testing.T) {
	text, err := os.ReadFile("../../vex.openvex.json")
	if err != nil {
		t.Fatal(err)
	}
	var vex struct {
		Context    string `json:"@context"`
		Statements []vexStatement
	}
	if err := json.Unmarshal(text, &vex); err != nil {
		t.Fatal(err)
	}
	if vex.Context != "https://openvex.dev/ns/v0.2.0" || len(vex.Statements) == 0 {
		t.Fatalf("context is %q, with %d statements", vex.Context, len(vex.Statements))
	}
	var purls []string
	for _, p := range imageSBOM(t).Packages {
		for _, r := range p.PackageExternalReferences {
			purls = append(purls, r.Locator)
		}
	}
	for _, s := range vex.Statements {
		if err := s.lacks(); err != "" {
			t.Errorf("%s: %s", s.Vulnerability.Name, err)
		}
		for _, p := range s.Products {
			if !slices.ContainsFunc(purls, func(u string) bool { return strings.HasPrefix(u, p.ID+"@") }) {
				t.Errorf("%s is about %s, which is not in the image", s.Vulnerability.Name, p.ID)
			}
		}
	}
}

type vexStatement struct {
	Vulnerability struct{ Name string }
	Products      []struct {
		ID string `json:"@id"`
	}
	Status, Justification string
	Impact                string `json:"impact_statement"`
	Action                string `json:"action_statement"`
	Notes                 string `json:"status_notes"`
}

// lacks says what the status of a statement asks for and is not there.
func (s vexStatement) lacks() string {
	switch {
	case s.Vulnerability.Name == "" || len(s.Products) == 0:
		return "no vulnerability or no product"
	case s.Status == "not_affected" && (s.Justification == "" || s.Impact == ""):
		return "not affected, without justification and impact"
	case s.Status == "affected" && s.Action == "":
		return "affected, without saying what to do"
	case !slices.Contains([]string{"not_affected", "affected", "fixed", "under_investigation"}, s.Status):
		return "status " + s.Status + " is none of OpenVEX"
	}
	return ""
}
