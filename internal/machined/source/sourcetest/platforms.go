package sourcetest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// What each server does is taken from the documents that the platform's file in package source names.

// forwarded is the field by which services tell requests that came through a proxy.
const forwarded = "X-Forwarded-For"

// NewAWS is the metadata service of EC2 with version 2 required: no answer without a token. off is a service that is turned off.
func NewAWS(t *testing.T, off bool) *Server {
	var mu sync.Mutex
	tokens := map[string]time.Time{}
	return newServer(t, func(w http.ResponseWriter, r *http.Request, data []byte) string {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case off:
			http.Error(w, "", http.StatusForbidden)
		case r.Method == http.MethodPut && r.Header.Get(forwarded) != "":
			return refuse(w, http.StatusForbidden, "a token through a proxy")
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
			seconds, err := strconv.Atoi(r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds"))
			if err != nil || seconds < 1 || seconds > 21600 {
				return refuse(w, http.StatusBadRequest, "a token without its time to live")
			}
			token := rand.Text() + "=="
			tokens[token] = time.Now().Add(time.Duration(seconds) * time.Second)
			fmt.Fprint(w, token)
		case r.Method == http.MethodPut:
			return refuse(w, http.StatusForbidden, "a token of one version of the service")
		case time.Now().After(tokens[r.Header.Get("X-aws-ec2-metadata-token")]):
			return refuse(w, http.StatusUnauthorized, "no token that is valid")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			return refuse(w, http.StatusMethodNotAllowed, "its method")
		case r.URL.Path != "/latest/user-data" || data == nil:
			http.Error(w, "Not Found", http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", "application/octet-stream")
			return give(w, data)
		}
		return ""
	})
}

// NewGCP is the metadata server of Compute Engine. The user's data is under the key; impostor is another server, which does not say that it is
// Google's.
func NewGCP(t *testing.T, key string, impostor bool) *Server {
	return newServer(t, func(w http.ResponseWriter, r *http.Request, data []byte) string {
		if !impostor {
			w.Header().Set("Metadata-Flavor", "Google")
		}
		w.Header().Set("Server", "Metadata Server for VM")
		switch {
		case r.Header.Get(forwarded) != "":
			return refuse(w, http.StatusForbidden, "through a proxy")
		case r.Header.Get("Metadata-Flavor") != "Google":
			return refuse(w, http.StatusForbidden, "no Metadata-Flavor")
		case r.URL.Path != "/computeMetadata/v1/instance/attributes/"+key || data == nil:
			http.Error(w, "Not Found", http.StatusNotFound)
			return ""
		}
		w.Header().Set("Content-Type", "application/text")
		return give(w, data)
	})
}

// NewAzure is the Instance Metadata Service of Azure. Missing is the status for user data that nobody gave: 200, with an empty body, or 404. Gone
// is how many requests get 410 first.
func NewAzure(t *testing.T, missing, gone int) *Server {
	var mu sync.Mutex
	return newServer(t, func(w http.ResponseWriter, r *http.Request, data []byte) string {
		mu.Lock()
		defer mu.Unlock()
		query := r.URL.Query()
		switch {
		case r.Header.Get("Metadata") != "true":
			return refuse(w, http.StatusBadRequest, "Required metadata header not specified")
		case r.Header.Get(forwarded) != "":
			return refuse(w, http.StatusBadRequest, "through a proxy")
		case r.Method != http.MethodGet:
			return refuse(w, http.StatusMethodNotAllowed, "its method")
		case gone > 0:
			gone--
			http.Error(w, "", http.StatusGone)
		case query.Get("api-version") < "2021-01-01":
			return refuse(w, http.StatusBadRequest, "api-version was not specified, or has no user data")
		case query.Get("format") != "text":
			return refuse(w, http.StatusBadRequest, "a leaf in another format than text")
		case r.URL.Path != "/metadata/instance/compute/userData":
			http.Error(w, "", http.StatusNotFound)
		case data == nil:
			w.WriteHeader(missing)
		default:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			return give(w, []byte(base64.StdEncoding.EncodeToString(data)))
		}
		return ""
	})
}

// NewOpenStack is Nova's metadata service.
func NewOpenStack(t *testing.T) *Server {
	return newServer(t, only("/openstack/latest/user_data", http.StatusNotFound))
}

// NewHetzner is the metadata service of Hetzner Cloud. Missing is the status for user data that nobody gave, which is not documented.
func NewHetzner(t *testing.T, missing int) *Server {
	return newServer(t, only("/hetzner/v1/userdata", missing))
}

// NewDigitalOcean is the metadata service of Droplets.
func NewDigitalOcean(t *testing.T) *Server {
	return newServer(t, func(w http.ResponseWriter, r *http.Request, data []byte) string {
		if r.URL.Path == "/metadata/v1" {
			http.Redirect(w, r, "/metadata/v1/", http.StatusMovedPermanently)
			return ""
		}
		return only("/metadata/v1/user-data", http.StatusNotFound)(w, r, data)
	})
}

// only gives data under one path, and the missing status if there is none.
func only(path string, missing int) behaviour {
	return func(w http.ResponseWriter, r *http.Request, data []byte) string {
		switch {
		case r.Method != http.MethodGet:
			return refuse(w, http.StatusMethodNotAllowed, "its method")
		case r.URL.Path != path:
			http.NotFound(w, r)
			return ""
		case data == nil:
			w.WriteHeader(missing)
			return ""
		}
		return give(w, data)
	}
}

func refuse(w http.ResponseWriter, status int, why string) string {
	http.Error(w, why, status)
	return why
}

func give(w http.ResponseWriter, data []byte) string {
	_, _ = w.Write(data) // into a buffer
	return ""
}
