// Command containerd is containerd with the plug-ins that a node uses: those
// that run the containers of the operating system, and those by which kubelet
// runs pods. Both instances are this program; what each of them loads is up to
// its configuration.
//
// Left out of containerd's own list are other snapshotters, NRI, image
// verifiers, the restart monitor, tracing, and the servers of metrics and
// profiles: each would only be code that somebody could reach.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/cyvive/cyvive/images/startup"
)

func main() {
	startup.EaseGC()
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}
