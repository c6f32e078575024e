// What oauth2-proxy, kubectl proxy and many others are built on: Go's httputil.ReverseProxy.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func main() {
	listen, upstream, caFile := os.Args[1], os.Args[2], os.Args[3]
	target, err := url.Parse(upstream)
	if err != nil {
		log.Fatal(err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	proxy := &httputil.ReverseProxy{
		Director: func(request *http.Request) {
			request.URL.Scheme = target.Scheme
			request.URL.Host = target.Host
			request.Host = target.Host
			request.Header.Set("Authorization", "Bearer bench-token")
		},
		Transport: &http.Transport{
			MaxIdleConns:        512,
			MaxIdleConnsPerHost: 512,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
			TLSClientConfig:     &tls.Config{RootCAs: roots},
		},
	}
	log.Fatal(http.ListenAndServe(listen, proxy))
}
