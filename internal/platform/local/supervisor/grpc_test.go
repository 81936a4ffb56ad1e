// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

// grpcArgument makes the test binary a service of gRPC.
const grpcArgument = "grpc-service"

type grpcService struct {
	testpb.UnimplementedTestServiceServer
}

// UnaryCall fails as it is asked to, or sends back the payload.
func (grpcService) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s := r.GetResponseStatus(); s != nil {
		return nil, grpcstatus.Error(codes.Code(s.Code), s.Message)
	}
	said, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-forwarded-for-seen", strings.Join(said["x-forwarded-for"], ","), "x-authority", strings.Join(said[":authority"], ",")))
	return &testpb.SimpleResponse{Payload: r.Payload}, nil
}

// FullDuplexCall answers each message before the next one comes.
func (grpcService) FullDuplexCall(s grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	s.SetTrailer(metadata.Pairs("x-end", "reached"))
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.Send(&testpb.StreamingOutputCallResponse{Payload: r.Payload})
		}
		if err != nil {
			fmt.Println("stream ends:", grpcstatus.Code(err))
			return err
		}
	}
}

func playGRPC() {
	if len(os.Args) < 2 || os.Args[1] != grpcArgument {
		return
	}
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
	if err == nil {
		server := grpc.NewServer()
		testpb.RegisterTestServiceServer(server, grpcService{})
		err = server.Serve(l)
	}
	fmt.Println(err)
	os.Exit(1)
}

func (b *bed) grpcRequest(fleet, protocol string) pipeline.FleetRequest {
	r := b.Request(fleet)
	self, err := os.Executable()
	b.Must(err)
	r.Service = pipeline.Service{Start: "exec '" + self + "' " + grpcArgument, Protocol: protocol}
	return r
}

func (b *bed) grpcClient(endpoint string) testpb.TestServiceClient {
	b.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(endpoint, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	b.Must(err)
	b.Cleanup(func() { _ = conn.Close() })
	return testpb.NewTestServiceClient(conn)
}

// gRPC works from end to end: calls, failures, both directions of a stream at a time, its
// trailers, a client that cancels, and a swap of fleets.
func TestGRPC(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.grpcRequest("f-1", pipeline.ProtocolH2C))
	client := b.grpcClient(endpoint)
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()

	large := &testpb.Payload{Body: make([]byte, 3<<20)}
	var trailer metadata.MD
	out, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: large}, grpc.Trailer(&trailer))
	b.Must(err)
	if len(out.Payload.Body) != len(large.Body) || trailer.Get("x-forwarded-for-seen")[0] != protocol.Loopback || trailer.Get("x-authority")[0] != strings.TrimPrefix(endpoint, "http://") {
		t.Errorf("a call gets %d bytes and the trailers %v", len(out.Payload.Body), trailer)
	}
	_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(codes.FailedPrecondition), Message: "not now: ü"}})
	if s := grpcstatus.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not now: ü" {
		t.Errorf("a call that fails gets %v", err)
	}
	if _, err = client.EmptyCall(ctx, &testpb.Empty{}); grpcstatus.Code(err) != codes.Unimplemented || strings.Contains(err.Error(), "penstock") {
		t.Errorf("a method that the service lacks gets %v", err)
	}

	stream, err := client.FullDuplexCall(ctx)
	b.Must(err)
	echo := func(text string) {
		t.Helper()
		b.Must(stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte(text)}}))
		r, err := stream.Recv()
		b.Must(err)
		if string(r.Payload.Body) != text {
			t.Errorf("the stream answers %q with %q", text, r.Payload.Body)
		}
	}
	echo("one")
	echo("two")
	swapped := make(chan struct{})
	go func() { // the stream goes on in the old fleet, new calls go to the new one
		defer close(swapped)
		next := b.grpcRequest("f-2", pipeline.ProtocolH2C)
		next.DrainTimeout = testPatience
		b.Serve(next)
	}()
	b.Await("the traffic to go over", func() bool { return b.Report().Serving == "f-2" })
	echo("three")
	_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{})
	b.Must(err)
	b.Must(stream.CloseSend())
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) || stream.Trailer().Get("x-end") == nil {
		t.Errorf("the stream ends with %v and %v", err, stream.Trailer())
	}
	<-swapped

	cancelled, stop := context.WithCancel(ctx)
	stream, err = client.FullDuplexCall(cancelled)
	b.Must(err)
	echo("four")
	stop()
	if _, err := stream.Recv(); grpcstatus.Code(err) != codes.Canceled {
		t.Errorf("a stream that is cancelled ends with %v", err)
	}
	began := time.Now()
	last := b.grpcRequest("f-3", pipeline.ProtocolH2C) // the drain would wait for the stream
	last.DrainTimeout = testPatience
	b.Serve(last)
	if took := time.Since(began); took >= testPatience {
		t.Errorf("a cancelled stream went on for %v", took)
	}
}

// Without service.protocol a gRPC client gets an error that names it.
func TestGRPCRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	_, err := b.grpcClient(b.Serve(b.grpcRequest("f-1", ""))).EmptyCall(t.Context(), &testpb.Empty{})
	if s := grpcstatus.Convert(err); s.Code() != codes.Unimplemented || !strings.Contains(s.Message(), `set service.protocol to h2c`) {
		t.Errorf("the call gets %v", err)
	}
}
