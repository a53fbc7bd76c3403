//! What clients ask before they work: what the server can do, and who leads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status};

use crate::proto::gossip::member_info::VNodeState;
use crate::proto::gossip::{ClusterInfo, EndPoint, MemberInfo, gossip_server};
use crate::proto::server_features::{SupportedMethod, SupportedMethods, server_features_server};
use crate::proto::shared;
use crate::service::Context;

/// The version whose behaviour is served: the last whose subscriptions and appends are those implemented here.
const SPOKEN_VERSION: &str = "23.10.0";

/// The methods of `event_store.client.streams.Streams` that work, with the features that clients look for.
const STREAM_METHODS: [(&str, &[&str]); 3] =
    [("append", &[]), ("batchappend", &["deadline_duration"]), ("read", &["position", "events"])];

/// Answers which methods there are.
pub(crate) struct Features;

#[tonic::async_trait]
impl server_features_server::ServerFeatures for Features {
    async fn get_supported_methods(
        &self,
        _request: Request<shared::Empty>,
    ) -> Result<Response<SupportedMethods>, Status> {
        let method = |service: &str, method: &str, features: &[&str]| SupportedMethod {
            method_name: method.to_owned(),
            service_name: service.to_owned(),
            features: features.iter().map(ToString::to_string).collect(),
        };
        let mut methods: Vec<_> = STREAM_METHODS
            .iter()
            .map(|(name, features)| method("event_store.client.streams.streams", name, features))
            .collect();
        methods.push(method("event_store.client.gossip.gossip", "read", &[]));
        methods.push(method("event_store.client.server_features.serverfeatures", "getsupportedmethods", &[]));
        Ok(Response::new(SupportedMethods { methods, event_store_server_version: SPOKEN_VERSION.to_owned() }))
    }
}

/// Answers that this server is a cluster of one, which leads.
pub(crate) struct Members(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl gossip_server::Gossip for Members {
    async fn read(&self, request: Request<shared::Empty>) -> Result<Response<ClusterInfo>, Status> {
        let reached = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::local_addr);
        let address =
            self.0.advertise.or(reached).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2113));
        let member = MemberInfo {
            instance_id: Some(shared::Uuid {
                value: Some(shared::uuid::Value::String(self.0.instance.to_string())),
            }),
            // Ticks of 100 ns.
            time_stamp: self.0.now_us().saturating_mul(10),
            state: VNodeState::Leader.into(),
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: address.ip().to_string(),
                port: u32::from(address.port()),
            }),
        };
        Ok(Response::new(ClusterInfo { members: vec![member] }))
    }
}
