package machined

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// ParseRelease reads release.json of the image: the version of the operating system and of what it is made from. Fields that are not
// known are passed over.
func ParseRelease(data []byte) (server.Version, error) {
	var r struct {
		Version    string `json:"version"`
		Components []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Source  string `json:"source"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return server.Version{}, fmt.Errorf("parse release: %w", err)
	}
	if r.Version == "" {
		return server.Version{}, errors.New("parse release: no version")
	}
	v := server.Version{OS: r.Version}
	for _, c := range r.Components {
		v.Components = append(v.Components, server.Component{Name: c.Name, Version: c.Version, Source: c.Source})
	}
	return v, nil
}
