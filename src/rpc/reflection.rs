//! Server reflection. tonic's own service ends the stream at the first unknown name, where the
//! protocol puts an error into the response, and does not know extensions.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::Pin,
    sync::Arc,
};

use futures_util::{Stream, stream};
use prost::{DecodeError, Message};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{layers::Origin, status};

/// The files of a descriptor set, still encoded: decoding would lose what prost does not know.
#[derive(Clone, PartialEq, Message)]
struct EncodedFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct File {
    encoded: Vec<u8>,
    dependencies: Vec<String>,
}

/// An index of the files that describe the services.
#[derive(Debug, Default)]
struct Index {
    /// By name.
    files: HashMap<String, File>,
    /// The file of each symbol.
    symbols: HashMap<String, String>,
    /// The file of each extension, by the extended type and the extension's number.
    extensions: BTreeMap<(String, i32), String>,
    services: BTreeSet<String>,
}

/// A query, the same in both versions of the protocol.
enum Query {
    File(String),
    Symbol(String),
    Extension(String, i32),
    ExtensionsOf(String),
    Services,
}

/// The result of a query.
enum QueryResult {
    Files(Vec<Vec<u8>>),
    Extensions(String, Vec<i32>),
    Services(Vec<String>),
}

/// The message of an unsuccessful query.
struct NotFound(&'static str);

impl Index {
    fn register(&mut self, descriptor_set: &[u8]) -> Result<(), DecodeError> {
        for encoded in EncodedFiles::decode(descriptor_set)?.files {
            let file = FileDescriptorProto::decode(&encoded[..])?;
            let name = file.name().to_owned();
            let package = file.package();
            for message in &file.message_type {
                self.message(&name, package, message);
            }
            for enumeration in &file.enum_type {
                self.enumeration(&name, package, enumeration);
            }
            self.extensions(&name, package, &file.extension);
            for service in &file.service {
                let service_name = self.symbol(&name, package, service.name());
                for method in &service.method {
                    self.symbol(&name, &service_name, method.name());
                }
                self.services.insert(service_name);
            }
            self.files.insert(name, File { encoded, dependencies: file.dependency });
        }
        Ok(())
    }

    /// Registers a symbol; returns its full name.
    fn symbol(&mut self, file: &str, scope: &str, name: &str) -> String {
        let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.symbols.insert(full.clone(), file.to_owned());
        full
    }

    fn message(&mut self, file: &str, scope: &str, message: &DescriptorProto) {
        let name = self.symbol(file, scope, message.name());
        for field in &message.field {
            self.symbol(file, &name, field.name());
        }
        for oneof in &message.oneof_decl {
            self.symbol(file, &name, oneof.name());
        }
        for nested in &message.nested_type {
            self.message(file, &name, nested);
        }
        for enumeration in &message.enum_type {
            self.enumeration(file, &name, enumeration);
        }
        self.extensions(file, &name, &message.extension);
    }

    /// Enum values are siblings of their enum. They are registered below it too, since many clients
    /// look for them there.
    fn enumeration(&mut self, file: &str, scope: &str, enumeration: &EnumDescriptorProto) {
        let name = self.symbol(file, scope, enumeration.name());
        for value in &enumeration.value {
            self.symbol(file, scope, value.name());
            self.symbol(file, &name, value.name());
        }
    }

    fn extensions(&mut self, file: &str, scope: &str, extensions: &[FieldDescriptorProto]) {
        for extension in extensions {
            self.symbol(file, scope, extension.name());
            let extended = extension.extendee().trim_start_matches('.').to_owned();
            self.extensions.insert((extended, extension.number()), file.to_owned());
        }
    }

    fn respond(&self, query: Query) -> Result<QueryResult, NotFound> {
        match query {
            Query::File(name) if self.files.contains_key(&name) => Ok(self.with_imports(&name)),
            Query::File(_) => Err(NotFound("no such file")),
            Query::Symbol(name) => match self.symbols.get(&name) {
                Some(file) => Ok(self.with_imports(file)),
                None => Err(NotFound("no such symbol")),
            },
            Query::Extension(extended, number) => match self.extensions.get(&(extended, number)) {
                Some(file) => Ok(self.with_imports(file)),
                None => Err(NotFound("no such extension")),
            },
            Query::ExtensionsOf(name) => {
                let all =
                    self.extensions.range((name.clone(), i32::MIN)..=(name.clone(), i32::MAX));
                let numbers: Vec<_> = all.map(|((_, number), _)| *number).collect();
                if numbers.is_empty() && !self.symbols.contains_key(&name) {
                    return Err(NotFound("no such type"));
                }
                Ok(QueryResult::Extensions(name, numbers))
            }
            Query::Services => Ok(QueryResult::Services(self.services.iter().cloned().collect())),
        }
    }

    /// A file and everything it imports; the file comes first.
    fn with_imports(&self, name: &str) -> QueryResult {
        let (mut names, mut at) = (vec![name], 0);
        let mut files = Vec::new();
        while let Some(name) = names.get(at).copied() {
            at += 1;
            let Some(file) = self.files.get(name) else { continue };
            files.push(file.encoded.clone());
            for import in &file.dependencies {
                if !names.contains(&import.as_str()) {
                    names.push(import);
                }
            }
        }
        QueryResult::Files(files)
    }
}

/// Reflection in both versions of the protocol.
#[derive(Clone, Debug)]
pub(super) struct Reflection(Arc<Index>);

impl Reflection {
    /// Describes these descriptor sets and reflection itself.
    pub(super) fn new(descriptor_sets: &[&[u8]]) -> Result<Self, DecodeError> {
        use tonic_reflection::pb::{v1, v1alpha};

        let mut index = Index::default();
        let own = [v1::FILE_DESCRIPTOR_SET, v1alpha::FILE_DESCRIPTOR_SET];
        for set in descriptor_sets.iter().chain(&own) {
            index.register(set)?;
        }
        Ok(Self(Arc::new(index)))
    }
}

/// The versions of the protocol have the same messages in different packages.
macro_rules! serve {
    ($version:ident) => {
        mod $version {
            use super::*;
            use tonic_reflection::pb::$version::{
                ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse,
                ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
                ServiceResponse, server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
                server_reflection_server::ServerReflection,
            };

            fn query(request: MessageRequest) -> Query {
                match request {
                    MessageRequest::FileByFilename(name) => Query::File(name),
                    MessageRequest::FileContainingSymbol(name) => Query::Symbol(name),
                    MessageRequest::FileContainingExtension(extension) => {
                        Query::Extension(extension.containing_type, extension.extension_number)
                    }
                    MessageRequest::AllExtensionNumbersOfType(name) => Query::ExtensionsOf(name),
                    MessageRequest::ListServices(_) => Query::Services,
                }
            }

            fn error(code: Code, message: &str) -> MessageResponse {
                let (error_code, error_message) = (code.into(), message.to_owned());
                MessageResponse::ErrorResponse(ErrorResponse { error_code, error_message })
            }

            fn message(found: QueryResult) -> MessageResponse {
                match found {
                    QueryResult::Files(file_descriptor_proto) => {
                        MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                            file_descriptor_proto,
                        })
                    }
                    QueryResult::Extensions(base_type_name, extension_number) => {
                        MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                            base_type_name,
                            extension_number,
                        })
                    }
                    QueryResult::Services(names) => {
                        let service =
                            names.into_iter().map(|name| ServiceResponse { name }).collect();
                        MessageResponse::ListServicesResponse(ListServiceResponse { service })
                    }
                }
            }

            fn respond(
                index: &Index,
                request: ServerReflectionRequest,
            ) -> ServerReflectionResponse {
                let respond = match request.message_request.clone().map(query) {
                    None => error(Code::InvalidArgument, "the request is empty"),
                    Some(query) => match index.respond(query) {
                        Ok(found) => message(found),
                        Err(NotFound(what)) => error(Code::NotFound, what),
                    },
                };
                ServerReflectionResponse {
                    valid_host: request.host.clone(),
                    original_request: Some(request),
                    message_response: Some(respond),
                }
            }

            #[tonic::async_trait]
            impl ServerReflection for Reflection {
                type ServerReflectionInfoStream =
                    Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

                async fn server_reflection_info(
                    &self,
                    mut requests: Request<Streaming<ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let index = Arc::clone(&self.0);
                    let Origin { deadline, access, lifetime } = Origin::take(&mut requests)?;
                    let requests = requests.into_inner();
                    let responses = stream::try_unfold(requests, move |mut requests| {
                        let (index, lifetime) = (Arc::clone(&index), lifetime.clone());
                        let caller = access.caller().clone();
                        async move {
                            let request = tokio::select! {
                                request = requests.message() => request?,
                                () = lifetime.ended() => {
                                    return Err(status::lifetime_reached(deadline, None));
                                }
                                denied = caller.ended() => {
                                    return Err(status::denied(&denied, None, deadline));
                                }
                            };
                            Ok(request.map(|request| (respond(&index, request), requests)))
                        }
                    });
                    Ok(Response::new(Box::pin(responses)))
                }
            }
        }
    };
}

serve!(v1);
serve!(v1alpha);
