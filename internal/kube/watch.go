package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cyvive/cyvive/internal/service"
)

const (
	servicesPath = "/api/v1/services"
	slicesPath   = "/apis/discovery.k8s.io/v1/endpointslices"
	// pageSize is how many objects one answer of a list holds, far below what maxAnswerBytes takes.
	pageSize = 500
	// watchFor is when the server ends a watch, watchGrace how much later it is given up.
	watchFor   = 5 * time.Minute
	watchGrace = 30 * time.Second
	// retryFirst is doubled with each further failure up to retryMost.
	retryFirst = 250 * time.Millisecond
	retryMost  = 2 * time.Second
)

// ServiceWatch follows the services of a cluster by its API server. It may be used by one caller at a time.
type ServiceWatch struct {
	rest *restClient
	log  *slog.Logger
}

// NewServiceWatch returns a watch of the API server on this node.
func NewServiceWatch(log *slog.Logger) *ServiceWatch {
	return &ServiceWatch{rest: newRESTClient(time.Now), log: log}
}

// update is what one of the two collections has become: a whole list, or one object of it.
type update struct {
	// kind is servicesPath or slicesPath.
	kind string
	// whole says that objects are all there are; otherwise they are added or replaced, or gone.
	whole   bool
	gone    bool
	objects []json.RawMessage
}

// Run calls publish with the whole table whenever it changed, as soon as it is known, from one goroutine, until ctx ends. While the server
// does not answer, the last table holds.
func (w *ServiceWatch) Run(ctx context.Context, spec Spec, publish func(*service.Table)) {
	updates := make(chan update, 16)
	for _, path := range []string{servicesPath, slicesPath} {
		go w.follow(ctx, spec, path, updates)
	}
	c := catalog{map[key]clusterService{}, map[key]endpointSlice{}}
	listed := map[string]bool{}
	var last *service.Table
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-updates:
			w.take(c, listed, u)
		}
		for more := true; more; { // what is there already makes one table
			select {
			case u := <-updates:
				w.take(c, listed, u)
			default:
				more = false
			}
		}
		if !listed[servicesPath] || !listed[slicesPath] {
			continue
		}
		if t := c.table(spec.NodeName); !t.Equal(last) {
			last = t
			publish(t)
		}
	}
}

// take brings an update into the catalog. An object that cannot be read is left out.
func (w *ServiceWatch) take(c catalog, listed map[string]bool, u update) {
	listed[u.kind] = listed[u.kind] || u.whole
	var err error
	if u.kind == servicesPath {
		err = merge(c.services, u, parseService)
	} else {
		err = merge(c.slices, u, parseSlice)
	}
	if err != nil {
		w.log.Warn("an object of the cluster is left out", "collection", u.kind, "error", err)
	}
}

func merge[T any](into map[key]T, u update, parse func([]byte) (key, T, error)) error {
	if u.whole {
		clear(into)
	}
	var problems []error
	for _, data := range u.objects {
		k, object, err := parse(data)
		switch {
		case err != nil:
			problems = append(problems, err)
		case u.gone:
			delete(into, k)
		default:
			into[k] = object
		}
	}
	return errors.Join(problems...)
}

// errGone says that the server no longer knows the version from which it should go on: all has to be listed again.
var errGone = errors.New("the watched version is gone")

// follow sends what a collection is and becomes, until ctx ends.
func (w *ServiceWatch) follow(ctx context.Context, spec Spec, path string, to chan<- update) {
	version, failures := "", 0
	for ctx.Err() == nil {
		var err error
		if version == "" {
			version, err = w.list(ctx, spec, path, to)
		} else {
			version, err = w.watch(ctx, spec, path, version, to)
		}
		if err == nil {
			failures = 0
			continue
		}
		failures++
		if errors.Is(err, errGone) {
			version = ""
		} else if failures == 1 && ctx.Err() == nil {
			w.log.Info("waiting for the API server to tell of services", "collection", path, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(retryMost, retryFirst<<min(failures-1, 8))):
		}
	}
}

// list sends the whole collection, and returns its version.
func (w *ServiceWatch) list(ctx context.Context, spec Spec, path string, to chan<- update) (string, error) {
	all := update{kind: path, whole: true}
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for {
		data, err := w.rest.do(ctx, spec, http.MethodGet, path+"?"+query.Encode(), "", nil)
		if err != nil {
			return "", err
		}
		page, err := parseList(data)
		if err != nil {
			return "", err
		}
		all.objects = append(all.objects, page.Items...)
		if page.Metadata.Continue == "" {
			return page.Metadata.ResourceVersion, send(ctx, to, all)
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

// list is the part of a v1.List that matters here.
type list struct {
	Metadata struct{ ResourceVersion, Continue string }
	Items    []json.RawMessage
}

// parseList reads one page of a collection.
func parseList(data []byte) (list, error) {
	var page list
	if err := json.Unmarshal(data, &page); err != nil {
		return list{}, fmt.Errorf("read list: %w", err)
	}
	if page.Metadata.ResourceVersion == "" {
		return list{}, errors.New("read list: it has no resource version")
	}
	return page, nil
}

// watch sends each change after version, and returns the version from which to go on when the server ends the watch.
func (w *ServiceWatch) watch(ctx context.Context, spec Spec, path, version string, to chan<- update) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, watchFor+watchGrace)
	defer cancel()
	query := url.Values{
		"watch": {"true"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version},
		"timeoutSeconds": {strconv.Itoa(int(watchFor.Seconds()))},
	}
	stream, err := w.rest.open(ctx, spec, http.MethodGet, path+"?"+query.Encode(), "", nil)
	if err != nil {
		return version, err
	}
	defer stream.Close()
	events := json.NewDecoder(stream)
	for {
		e, err := nextEvent(events)
		if err != nil {
			return version, fmt.Errorf("watch %s: %w", path, err)
		}
		if e == nil {
			return version, nil
		}
		version = e.version
		if e.kind == "BOOKMARK" {
			continue
		}
		u := update{kind: path, gone: e.kind == "DELETED", objects: []json.RawMessage{e.object}}
		if err := send(ctx, to, u); err != nil {
			return version, err
		}
	}
}

func send(ctx context.Context, to chan<- update, u update) error {
	select {
	case to <- u:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// event is one change of a watched collection.
type event struct {
	kind    string
	version string
	object  json.RawMessage
}

// nextEvent reads a metav1.WatchEvent. It returns nil at the end of the stream, and errGone where the server ended it for good.
func nextEvent(from *json.Decoder) (*event, error) {
	var wire struct {
		Type   string
		Object json.RawMessage
	}
	switch err := from.Decode(&wire); {
	case errors.Is(err, io.EOF): // in between two events; within one it is another error
		return nil, nil
	case err != nil:
		return nil, err
	}
	var object struct {
		Metadata struct{ ResourceVersion string }
		Code     int
		Message  string
	}
	if err := json.Unmarshal(wire.Object, &object); err != nil {
		return nil, err
	}
	switch wire.Type {
	case "ADDED", "MODIFIED", "DELETED", "BOOKMARK":
		if object.Metadata.ResourceVersion == "" {
			return nil, fmt.Errorf("event %s has no resource version", wire.Type)
		}
		return &event{wire.Type, object.Metadata.ResourceVersion, wire.Object}, nil
	case "ERROR":
		return nil, fmt.Errorf("%w: %d %s", errGone, object.Code, object.Message)
	}
	return nil, fmt.Errorf("event of unknown type %q", wire.Type)
}
