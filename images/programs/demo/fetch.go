package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
)

// authorityFile is where a pod finds the authority of its cluster.
const authorityFile = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

// maxBodyBytes bounds an answer.
const maxBodyBytes = 1 << 20

// fetch asks once, on a connection of its own, and returns the body of a good
// answer. HTTPS is verified against the cluster's authority.
func fetch(ctx context.Context, url string) ([]byte, error) {
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(authorityFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	return get(ctx, &http.Client{Transport: transport, Timeout: askTimeout}, url)
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	return read(response)
}

// read returns the body of a good answer.
func read(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}
