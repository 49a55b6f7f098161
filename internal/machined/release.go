package machined

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/semver"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Release is what the image says of itself.
type Release struct {
	// Version is that of the operating system and of what it is made from.
	Version server.Version
	// Floor is the oldest version that the node may be taken to; empty allows all.
	Floor string
}

// ParseRelease reads release.json of the image. Fields that are not known are passed over.
func ParseRelease(data []byte) (Release, error) {
	var r struct {
		Version    string `json:"version"`
		Floor      string `json:"floor"`
		Components []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Source  string `json:"source"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Release{}, fmt.Errorf("parse release: %w", err)
	}
	if r.Version == "" {
		return Release{}, errors.New("parse release: no version")
	}
	if r.Floor != "" && !semver.IsValid("v"+r.Floor) {
		return Release{}, fmt.Errorf("parse release: floor %q is not of the form 1.2.3", r.Floor)
	}
	v := server.Version{OS: r.Version}
	for _, c := range r.Components {
		v.Components = append(v.Components, server.Component{Name: c.Name, Version: c.Version, Source: c.Source})
	}
	return Release{Version: v, Floor: r.Floor}, nil
}
