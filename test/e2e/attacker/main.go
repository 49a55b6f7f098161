// Command attacker tries what no pod may do. It runs in a pod that has all that
// Kubernetes can give: privileged, in the host's PID, network and IPC namespaces,
// and with the host's root as a volume at /host.
//
// It prints one JSON line for each attempt. An attempt that is refused says how;
// one that got through says what it reached. The test fails for each of those.
//
// With --control it runs outside of all walls, as the machine's root, and leaves
// out what would end or change the machine. What gets through there and not in
// the pod is what the walls hold; an attempt that never gets through may just be
// broken.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// attempt is one attack.
type attempt struct {
	name string
	// do returns what was reached, or why it was not.
	do func() (reached string, err error)
	// danger leaves it out of the control.
	danger bool
}

// dangerous marks an attempt.
func dangerous(a attempt) attempt {
	a.danger = true
	return a
}

// errNothing is the refusal of an attempt that looks for something: it is not there.
var errNothing = errors.New("not there")

// Result is one line of the output.
type Result struct {
	Name string `json:"name"`
	// Refused is how the node refused it; empty where it did not.
	Refused string `json:"refused,omitempty"`
	// Reached is what the attempt reached.
	Reached string `json:"reached,omitempty"`
}

func main() {
	control := flag.Bool("control", false, "run outside of all walls, and leave out what would hurt the machine")
	alone := flag.String("child", "", "make one attempt as the root of a user namespace")
	flag.StringVar(&host, "host", host, "the host's root")
	hog := flag.String("hog", "", "take all of something instead: memory, processes, descriptors, inodes or disk")
	take := flag.String("takeover", "", "answer in the place of the plane's containerd instead: nonsense, silent or huge")
	flag.Parse()
	if *take != "" {
		fmt.Fprintln(os.Stderr, takeOver(*take))
		os.Exit(1)
	}
	if *hog != "" {
		eat := hogs[*hog]
		if eat == nil {
			fmt.Fprintf(os.Stderr, "hog %q is not known\n", *hog)
			os.Exit(2)
		}
		eat()
	}
	if *alone != "" {
		if err := child(*alone); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Attempts change the namespaces of their thread: each has one of its own,
	// which ends with it.
	out := json.NewEncoder(os.Stdout)
	var list []attempt
	for _, part := range [][]attempt{sight(), files(), devices(), kernel(), programs(), groups(), sockets(), last()} {
		list = append(list, part...)
	}
	for _, a := range list {
		if *control && a.danger {
			continue
		}
		done := make(chan Result)
		go func() {
			runtime.LockOSThread()
			if *control {
				if err := enterNode(); err != nil {
					fmt.Fprintln(os.Stderr, "enter the node's mount namespace:", err)
					os.Exit(1)
				}
			}
			done <- a.run()
		}()
		if err := out.Encode(<-done); err != nil {
			fmt.Fprintln(os.Stderr, "print result:", err)
			os.Exit(1)
		}
	}
}

// enterNode gives the calling thread a copy of the mount namespace of PID 1. The
// probe's own is of no use: where its root was mounted is gone.
func enterNode() error {
	f, err := os.Open("/proc/1/ns/mnt")
	if err != nil {
		return err
	}
	defer f.Close()
	// A thread that shares its root with others cannot enter (setns(2)).
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

func (a attempt) run() Result {
	reached, err := a.do()
	if err != nil {
		return Result{Name: a.name, Refused: err.Error()}
	}
	return Result{Name: a.name, Reached: reached}
}

// call makes an attempt of something that succeeds or returns an error.
func call(name string, do func() error) attempt {
	return attempt{name: name, do: func() (string, error) { return "it was allowed", do() }}
}
