// Command kubernetes is kubelet, kube-apiserver, kube-controller-manager,
// kube-scheduler and csi-controllers in one program, chosen by the name it is
// called by. One program shares the code that they have in common: a third of what
// the first four take as separate ones. The last (package csi) is none of
// Kubernetes' own; package gates sees to it that the others do not notice.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/images/startup"
	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // the JSON log format
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the build_info metric
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/cyvive/cyvive/images/kubernetes/csi"
	"github.com/cyvive/cyvive/images/kubernetes/gates"
)

// command returns the command that name stands for, or nil.
func command(name string) *cobra.Command {
	switch name {
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "csi-controllers":
		return csi.NewCommand()
	}
	return nil
}

func main() {
	startup.EaseGC()
	gates.Restore()
	name := filepath.Base(os.Args[0])
	c := command(name)
	if c == nil {
		fmt.Fprintf(os.Stderr, "kubernetes: called as %q; expected kubelet, kube-apiserver, kube-controller-manager, kube-scheduler or csi-controllers\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(c))
}
