package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/hack/qemu/vmtest/wire"
)

const (
	newRootDir = "/newroot"
	// imageDir is where the node's root image is mounted, in the new root.
	imageDir = "/image"
)

// newRoot moves the machine onto a tmpfs with a copy of what lay in the
// initramfs. With an image, /usr, /bin, /sbin, /lib and /lib64 are those of the
// node, and /etc holds copies of its files, so that tests may write there.
func newRoot(image bool) error {
	root := mount{"tmpfs", newRootDir, "tmpfs", 0, "mode=0755"}
	if err := mountAll([]mount{root}); err != nil {
		return err
	}
	if err := copyInitramfs(); err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	if image {
		if err := attachImage(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		target := newRootDir + dir
		if err := os.MkdirAll(target, 0o755); err != nil {
			return fmt.Errorf("make root: %w", err)
		}
		if err := unix.Mount(dir, target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	return switchRoot()
}

// copyInitramfs copies files and folders, save those that stay behind.
func copyInitramfs() error {
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch name := entry.Name(); name {
		case "newroot", "dev", "proc", "sys", "init", "modules":
			continue
		default:
			source := filepath.Join("/", name)
			if !entry.IsDir() {
				if err := copyFile(source, newRootDir+source); err != nil {
					return err
				}
			} else if err := os.CopyFS(newRootDir+source, os.DirFS(source)); err != nil {
				return err
			}
			if err := os.RemoveAll(source); err != nil { // its memory is needed
				return err
			}
		}
	}
	return os.MkdirAll(newRootDir+"/root", 0o700)
}

func copyFile(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return os.WriteFile(target, data, info.Mode().Perm())
}

// attachImage mounts the node's root image and puts its programs in place.
func attachImage() error {
	disk, err := findDisk(wire.ImageSerial)
	if err != nil {
		return err
	}
	at := newRootDir + imageDir
	if err := mountAll([]mount{{disk, at, "erofs", unix.MS_RDONLY, ""}}); err != nil {
		return err
	}
	if err := mountAll([]mount{{at + "/usr", newRootDir + "/usr", "", unix.MS_BIND, ""}}); err != nil {
		return err
	}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib64"} {
		link, err := os.Readlink(at + name)
		if err != nil {
			continue // the image has none
		}
		if err := os.Symlink(link, newRootDir+name); err != nil {
			return fmt.Errorf("make root: %w", err)
		}
	}
	if err := os.CopyFS(newRootDir+"/etc", os.DirFS(at+"/etc")); err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	return nil
}

// switchRoot makes the new root the root, the way of switch_root(8).
func switchRoot() error {
	if err := os.Chdir(newRootDir); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	return os.Chdir("/")
}

// raiseLoopback sets the interface lo up; the kernel then gives it 127.0.0.1/8
// and ::1/128 (since Linux 2.6 for IPv6; IPv4's needs the address set).
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	if err := request.SetInet4Addr([]byte{127, 0, 0, 1}); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, request); err != nil {
		return fmt.Errorf("raise loopback: set address: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	return nil
}
