package proto

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// NewClaim returns a claim of a worker process by the host of the epoch.
func NewClaim(token string, epoch uint64) *ClaimRequest {
	nonce := make([]byte, 32)
	rand.Read(nonce)
	return &ClaimRequest{Epoch: epoch, Nonce: nonce, Proof: HostProof(token, epoch, nonce)}
}

// HostProof is what only a host that has the generation's token can say about
// epoch and nonce.
func HostProof(token string, epoch uint64, nonce []byte) []byte {
	return proof(token, "host", epoch, nonce)
}

// WorkerProof is what only a worker process that has the token can say about them.
func WorkerProof(token string, epoch uint64, nonce []byte) []byte {
	return proof(token, "worker", epoch, nonce)
}

func proof(token, who string, epoch uint64, nonce []byte) []byte {
	h := hmac.New(sha256.New, []byte(token))
	h.Write([]byte("aerie " + who + "\n"))
	h.Write(binary.BigEndian.AppendUint64(nil, epoch))
	h.Write(nonce)
	return h.Sum(nil)
}

// EpochKey is the metadata of every call of the control service but Claim: the
// epoch of the host that calls, in decimal.
const EpochKey = "aerie-epoch"

// DialEpoch makes every call of a host's connection carry its epoch.
func DialEpoch(epoch uint64) []grpc.DialOption {
	text := strconv.FormatUint(epoch, 10)
	with := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, EpochKey, text)
	}
	return []grpc.DialOption{
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(with(ctx), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return streamer(with(ctx), desc, cc, method, opts...)
		}),
	}
}

// ServeEpoch makes a worker process's server ask obeys about the epoch of every
// call of the control service but Claim; one that does not obey it refuses the
// call, with codes.FailedPrecondition.
func ServeEpoch(obeys func(epoch uint64) bool) []grpc.ServerOption {
	check := func(ctx context.Context, method string) error {
		if !strings.HasPrefix(method, "/"+Control_ServiceDesc.ServiceName+"/") || method == Control_Claim_FullMethodName {
			return nil // go-plugin's own services, and the call by which a host is known
		}
		values := metadata.ValueFromIncomingContext(ctx, EpochKey)
		if len(values) == 1 {
			if epoch, err := strconv.ParseUint(values[0], 10, 64); err == nil && obeys(epoch) {
				return nil
			}
		}
		return status.Error(codes.FailedPrecondition, "the worker process obeys another host")
	}
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := check(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return handle(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if err := check(s.Context(), info.FullMethod); err != nil {
				return err
			}
			return handle(srv, s)
		}),
	}
}
