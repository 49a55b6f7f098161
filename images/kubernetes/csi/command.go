package csi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/cyvive/cyvive/images/kubernetes/gates"
)

const (
	// queriesPerSecond and queryBurst bound the requests of each of the two clients. The programs that these controllers come from have 5 and 10 each.
	queriesPerSecond, queryBurst = 20, 40
	// resync is how often everything is looked at again, as in the programs that these controllers come from.
	resync = 15 * time.Minute
	// retryFirst and retryMost are between two attempts of one operation.
	retryFirst, retryMost = time.Second, 5 * time.Minute
	// workers are how many operations of one kind go on at once.
	workers = 10
)

// options are what the command is called with.
type options struct{ kubeconfig, socket, node, health string }

// NewCommand returns the command. Kubernetes' own flags of logs are not among its flags: it writes to standard error.
func NewCommand() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "csi-controllers",
		Short: "Has a CSI driver do what PersistentVolumeClaims and VolumeSnapshots ask for",
		Args:  cobra.NoArgs, SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error { return o.run(genericserver.SetupSignalContext()) },
	}
	c.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "file that says how to reach the API server")
	c.Flags().StringVar(&o.socket, "csi-address", "", "socket of the CSI driver")
	c.Flags().StringVar(&o.node, "node-name", "", "this node's name in Kubernetes")
	c.Flags().StringVar(&o.health, "health-address", "", "address and port to answer GET /healthz at; it should be a loopback address")
	for _, name := range []string{"kubeconfig", "csi-address", "node-name", "health-address"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a name that is not above
		}
	}
	return c
}

// controllers are what the controllers are made of.
type controllers struct {
	core      kubernetes.Interface
	snapshots snapshotclient.Interface
	// informers of Kubernetes' own kinds, and of those of snapshots. They start when all controllers have said what they want of them.
	informers         informers.SharedInformerFactory
	snapshotInformers snapshotinformers.SharedInformerFactory
	driver            *driver
	node              string
}

// run runs the controllers until ctx ends. The error is one that came up before they ran.
func (o options) run(ctx context.Context) error {
	if err := gates.Register(); err != nil {
		return err
	}
	if err := serveHealth(o.health); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig %s: %w", o.kubeconfig, err)
	}
	c, err := newControllers(config)
	if err != nil {
		return err
	}
	c.node = o.node
	if c.driver, err = connect(ctx, o.socket); err != nil {
		return err
	}
	klog.InfoS("Connected to the CSI driver", "name", c.driver.name, "socket", o.socket)
	go c.driver.watch(ctx)
	var all []func(context.Context)
	for _, part := range []func(context.Context) ([]func(context.Context), error){c.provisioning, c.resizing, c.snapshotting} {
		runs, err := part(ctx)
		if err != nil {
			return err
		}
		all = append(all, runs...)
	}
	c.informers.Start(ctx.Done())
	c.snapshotInformers.Start(ctx.Done())
	// Until then this user may have no rights yet, and one of the controllers takes that for an answer (SnapshotFinalizerController).
	klog.InfoS("Waiting for the API server to list claims, volumes and classes")
	c.informers.WaitForCacheSync(ctx.Done())
	for _, run := range all {
		go run(ctx)
	}
	<-ctx.Done()
	return nil
}

func newControllers(config *rest.Config) (*controllers, error) {
	config.QPS, config.Burst = queriesPerSecond, queryBurst
	snapshots, err := snapshotclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client of snapshots: %w", err)
	}
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf // which custom resources do not have
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client of Kubernetes: %w", err)
	}
	return &controllers{
		core: core, snapshots: snapshots,
		informers: informers.NewSharedInformerFactory(core, resync), snapshotInformers: snapshotinformers.NewSharedInformerFactory(snapshots, resync),
	}, nil
}

// serveHealth answers at address, from now on, to whoever wants to know that the process is alive.
func serveHealth(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for questions of health: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			klog.ErrorS(err, "Answer questions of health", "address", address)
			klog.Flush()
			os.Exit(1)
		}
	}()
	return nil
}
