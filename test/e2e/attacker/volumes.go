package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// kubeletDriver is in the paths of the CSI driver's two sockets in kubelet's directory.
const kubeletDriver = "/zfs.csi.cyvive.dev"

// volumeSocket is where volumes are made and destroyed.
func volumeSocket() (string, error) { return speaks(host + "/run/cyvive/csi/zfs.sock") }

// kubeletSocket is where volumes are mounted. The pod finds it where kubelet does, and is not kubelet.
func kubeletSocket() (string, error) {
	path := host + "/var/lib/kubelet/plugins" + kubeletDriver + "/csi.sock"
	if host != "/host" {
		path = host + "/var/plane/lib/kubelet/plugins" + kubeletDriver + "/csi.sock" // in the control, which is not kubelet either
	}
	if _, err := os.Lstat(path); err != nil {
		return "the attempt is broken: " + err.Error(), nil
	}
	return speaks(path)
}

// speaks connects to a gRPC server, which says something as soon as it has taken a connection: its first SETTINGS frame (RFC 9113, 3.4).
func speaks(path string) (string, error) {
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return "", err
	}
	frame := make([]byte, 9)
	n, err := conn.Read(frame)
	if n == 0 && err != nil {
		return "", fmt.Errorf("it takes the connection and says nothing: %w", err)
	}
	return fmt.Sprintf("%s says % x", path, frame[:n]), nil
}

// mountDataset mounts what etcd writes, which needs no device: ZFS takes a name. Read-only it would be refused beside the node's own mount (zpl_get_tree in
// module/os/linux/zfs/zpl_super.c of OpenZFS 2.3.9).
func mountDataset() (string, error) {
	dir, err := folder()
	if err != nil {
		return "", err
	}
	defer os.Remove(dir)
	if err := unix.Mount("node/etcd", dir, "zfs", 0, ""); err != nil {
		return "", err
	}
	return "etcd's data", unix.Unmount(dir, 0)
}
