package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// linked are the plug-ins of the program, by URI.
func linked() map[string]plugin.Registration {
	out := map[string]plugin.Registration{}
	for _, r := range registry.Graph(func(*plugin.Registration) bool { return false }) {
		out[r.URI()] = r
	}
	return out
}

// TestConfigurations checks both configurations against what is linked: each
// name in them is there, and each plug-in that stays on finds one of every type
// it must have.
func TestConfigurations(t *testing.T) {
	for name, file := range map[string]string{
		"system": "../../files/root/etc/containerd/system.toml",
		"plane":  "../../files/plane/etc/containerd/config.toml",
	} {
		t.Run(name, func(t *testing.T) {
			var c config.Config
			if err := config.LoadConfig(context.Background(), file, &c); err != nil {
				t.Fatal(err)
			}
			all := linked()
			names := slices.Concat(c.DisabledPlugins, c.RequiredPlugins)
			for p := range c.Plugins {
				names = append(names, p)
			}
			for _, n := range names {
				if _, ok := all[n]; !ok {
					t.Errorf("%s names %s, which is not in the program", file, n)
				}
			}
			for _, n := range c.RequiredPlugins {
				if slices.Contains(c.DisabledPlugins, n) {
					t.Errorf("%s both needs %s and turns it off", file, n)
				}
			}
		})
	}
}

// TestNoUnusedPlugin fails when a plug-in gets into the program that neither
// instance loads, and when one of those comes back that were left out on purpose.
func TestNoUnusedPlugin(t *testing.T) {
	off := map[string]int{}
	for _, file := range []string{"../../files/root/etc/containerd/system.toml", "../../files/plane/etc/containerd/config.toml"} {
		var c config.Config
		if err := config.LoadConfig(context.Background(), file, &c); err != nil {
			t.Fatal(err)
		}
		for _, n := range c.DisabledPlugins {
			off[n]++
		}
	}
	for n, times := range off {
		if times == 2 {
			t.Errorf("%s is turned off in both configurations: do not link it", n)
		}
	}
	for n := range linked() {
		for _, gone := range []string{".nri.", "devmapper", "btrfs", "blockfile", "erofs", "zfs", "otlp", "image-verifier", "monitor.container"} {
			if strings.Contains(n, gone) {
				t.Errorf("%s is in the program", n)
			}
		}
	}
}
